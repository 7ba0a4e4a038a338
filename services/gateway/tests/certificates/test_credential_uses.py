from interlock_common.errors import Unavailable
from interlock_common.messages.credential_uses import CredentialUse, ReportCredentials
from interlock_common.testing.clock import ManualClock
from interlock_gateway.certificates.credential_uses import CredentialCounts, CredentialReports


async def test_what_is_counted_is_told_once() -> None:
    counts, told = CredentialCounts(), list[ReportCredentials]()

    async def tell(said: ReportCredentials) -> None:
        told.append(said)

    clock = ManualClock()
    reports = CredentialReports(counts, tell, "edge-1", clock)
    for _ in range(3):
        counts.count("ada", "token")
    counts.count("ada", "both")
    await reports.report()
    await reports.report()
    now = int(clock.time())
    assert told == [
        ReportCredentials("edge-1", (CredentialUse("ada", "token", 3, now), CredentialUse("ada", "both", 1, now)))
    ]


async def test_many_principals_are_told_in_parts_and_more_than_that_are_not_kept() -> None:
    counts, told = CredentialCounts(), list[int]()

    async def tell(said: ReportCredentials) -> None:
        told.append(len(said.uses))

    for number in range(20_100):
        counts.count(f"p{number}", "token")
    await CredentialReports(counts, tell, "edge-1", ManualClock()).report()
    assert told == [1000] * 20


async def test_while_auth_is_away_an_edge_goes_on() -> None:
    counts = CredentialCounts()

    async def tell(_said: ReportCredentials) -> None:
        raise Unavailable("auth is away")

    counts.count("ada", "token")
    await CredentialReports(counts, tell, "edge-1", ManualClock()).report()
    assert counts.take(0) == []
