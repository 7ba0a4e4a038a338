"""What a unit of work makes of the errors of a database."""

import pytest
from sqlalchemy.exc import DBAPIError

from interlock_common.database import open_engine, transaction
from interlock_common.errors import InvalidInput


class Refusal(Exception):
    """What the driver raises, with the code of PostgreSQL."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(("sqlstate", "raised"), [("22021", InvalidInput), ("40001", DBAPIError)])
async def test_a_text_that_cannot_be_kept_is_the_mistake_of_whoever_sent_it(
    sqlstate: str, raised: type[Exception]
) -> None:
    engine = open_engine("sqlite://")
    with pytest.raises(raised):
        async with transaction(engine):
            raise DBAPIError("INSERT", None, Refusal(sqlstate))
    await engine.dispose()
