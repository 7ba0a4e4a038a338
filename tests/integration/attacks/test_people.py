"""Passwords are not guessed, names not found out, and nobody lets themselves in."""

from typing import Any

import httpx
import pytest

from interlock_common.clock import SYSTEM_CLOCK
from stories.attack_table import Expected
from stories.attackers import PASSWORD, Ground

TURNS = 8
"""How many people are asked for; each may be wrong twice without being locked out."""


def login(ground: Ground, email: object, password: object) -> httpx.Response:
    with ground.as_(None) as client:
        return client.post("/auth/login", json={"email": email, "password": password})


@pytest.mark.attack("a wrong password, and an unknown name: the answers are the same", 401, "login_refused")
def test_a_wrong_password_and_an_unknown_name_are_answered_alike(ground: Ground, expected: Expected) -> None:
    known, unknown = login(ground, ground.carol.name, "wrong"), login(ground, "nobody@attacks.example", "wrong")
    expected.check(known)
    assert known.text == unknown.text
    assert known.headers.keys() == unknown.headers.keys()


@pytest.mark.attack(
    "passwords for known and for unknown names, to tell them apart by the time it takes", 401, "login_refused"
)
def test_an_unknown_name_costs_as_much_as_a_known_one(ground: Ground, expected: Expected) -> None:
    """The fastest of each kind in turns, until they are alike: noise only adds, and a hash that is missing stays so."""
    with ground.as_(ground.stage.token) as admin:
        for number in range(TURNS):
            admin.post("/users", json={"name": f"timed-{number}@attacks.example"}).raise_for_status()
    fastest = {"timed": float("inf"), "unknown": float("inf")}
    for number in range(TURNS * 2):
        for kind, so_far in fastest.items():
            began = SYSTEM_CLOCK.monotonic()
            answer = login(ground, f"{kind}-{number % TURNS}@attacks.example", "wrong")
            fastest[kind] = min(so_far, SYSTEM_CLOCK.monotonic() - began)
            expected.check(answer)
        if number and max(fastest.values()) < 2 * min(fastest.values()):
            return
    pytest.fail(f"known and unknown names differ in time: {fastest}")


@pytest.mark.attack("one guess too many, for a known and for an unknown name", 429, "locked_out")
def test_guessing_locks_known_and_unknown_names_alike(ground: Ground, expected: Expected) -> None:
    with ground.as_(ground.stage.token) as admin:
        target = {"name": "target@attacks.example", "password": PASSWORD}
        admin.post("/users", json=target).raise_for_status()
    for name in (target["name"], "no-target@attacks.example"):
        answers = [login(ground, name, f"guess-{number}").status_code for number in range(4)]
        assert answers == [401, 401, 401, 429]
        right = login(ground, name, PASSWORD)
        expected.check(right)
        assert int(right.headers["retry-after"]) > 60


FORMS = {
    "SQL in both": ("' OR '1'='1", "' OR '1'='1"),
    "SQL in the name": ("admin@example.com' --", "x"),
    "space around the name": (" admin@example.com\n", "wrong"),
    "a hash as password": ("root", "$argon2id$v=19$m=65536,t=3,p=4$AAAA$AAAA"),
}


@pytest.mark.attack("a login", 401, "login_refused")
@pytest.mark.parametrize(("email", "password"), FORMS.values(), ids=FORMS)
def test_no_form_of_a_name_lets_in(ground: Ground, expected: Expected, email: str, password: str) -> None:
    answer = login(ground, email, password)
    expected.check(answer)
    assert "token" not in answer.text.replace("token_", "")


NO_LOGINS: dict[str, Any] = {
    "objects": {"email": {"$ne": ""}, "password": {"$ne": ""}},
    "lists": {"email": ["admin@example.com"], "password": [PASSWORD]},
    "null": {"email": "admin@example.com", "password": None},
    "true": {"email": "admin@example.com", "password": True},
    "nothing": {"email": "admin@example.com", "password": ""},
    "a password of 2000 characters": {"email": "admin@example.com", "password": "x" * 2000},
    "a name of 400": {"email": "a" * 400, "password": "x"},
    "a NUL in the name": {"email": "admin@example.com\x00", "password": PASSWORD},
    "a name only": {"email": "admin@example.com"},
    "a list": [],
}


@pytest.mark.attack("a login with what is no text", 400, "invalid_input")
@pytest.mark.parametrize("body", NO_LOGINS.values(), ids=NO_LOGINS)
def test_only_texts_are_names_and_passwords(ground: Ground, expected: Expected, body: Any) -> None:
    with ground.as_(None) as client:
        answer = client.post("/auth/login", json=body)
    expected.check(answer)
    assert "xxx" not in answer.text


@pytest.mark.attack("an account for oneself", 403, "registration_closed")
def test_nobody_registers_themselves(ground: Ground, expected: Expected) -> None:
    with ground.as_(None) as client:
        answer = client.post("/auth/register", json={"email": "eve@attacks.example", "password": PASSWORD})
    expected.check(answer)


@pytest.mark.attack("a weak password to be set", 400, "password_refused")
@pytest.mark.parametrize(
    "password",
    ["short", "password1!", "12345678", "aaaaaaaaaaaa", "carol-carol", "Qwertyui1!", "carol@attacks.example"],
)
def test_a_weak_password_is_not_set(ground: Ground, expected: Expected, password: str) -> None:
    with ground.as_(ground.stage.token) as admin:
        answer = admin.post(f"/users/{ground.carol.name}/password", json={"new_password": password})
    expected.check(answer)
    assert password not in answer.text


@pytest.mark.attack("a new password, without the present one", 401, "login_refused")
def test_a_password_is_not_changed_without_the_present_one(ground: Ground, expected: Expected) -> None:
    with ground.as_(ground.carol.token) as client:
        body = {"current_password": "guess", "new_password": "Another-that-is-fine-9"}
        answer = client.post("/users/me/password", json=body)
    expected.check(answer)
