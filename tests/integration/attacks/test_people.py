"""Passwords are not guessed, names not found out, and nobody lets themselves in."""

import statistics
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from interlock_common.clock import SYSTEM_CLOCK
from stories.attackers import PASSWORD, Ground, code_of


def login(ground: Ground, email: object, password: object) -> httpx.Response:
    with ground.as_(None) as client:
        return client.post("/auth/login", json={"email": email, "password": password})


def test_a_wrong_password_and_an_unknown_name_are_answered_alike(ground: Ground) -> None:
    known, unknown = login(ground, ground.carol.name, "wrong"), login(ground, "nobody@attacks.example", "wrong")
    assert (known.status_code, code_of(known)) == (401, "login_refused")
    assert known.text == unknown.text
    assert known.headers.keys() == unknown.headers.keys()


def test_an_unknown_name_costs_as_much_as_a_known_one(ground: Ground) -> None:
    """Loosely: hashing takes tens of milliseconds, and would be missing in one of the two."""

    def seconds(name: Callable[[int], str]) -> float:
        taken: list[float] = []
        for number in range(2):
            began = SYSTEM_CLOCK.monotonic()
            assert login(ground, name(number), "wrong").status_code == 401
            taken.append(SYSTEM_CLOCK.monotonic() - began)
        return statistics.median(taken)

    people = (ground.alice.name, ground.bob.name)
    known = seconds(lambda number: people[number])
    unknown = seconds(lambda number: f"nobody-{number}@attacks.example")
    assert 0.2 < known / unknown < 5


def test_guessing_locks_known_and_unknown_names_alike(ground: Ground) -> None:
    with ground.as_(ground.stage.token) as admin:
        target = {"name": "target@attacks.example", "password": PASSWORD}
        admin.post("/users", json=target).raise_for_status()
    for name in (target["name"], "no-target@attacks.example"):
        answers = [login(ground, name, f"guess-{number}").status_code for number in range(4)]
        assert answers == [401, 401, 401, 429]
        right = login(ground, name, PASSWORD)
        assert (right.status_code, code_of(right)) == (429, "locked_out")
        assert int(right.headers["retry-after"]) > 60


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("' OR '1'='1", "' OR '1'='1"),
        ("admin@example.com' --", "x"),
        ("admin@example.com\x00", PASSWORD),
        (" admin@example.com\n", "wrong"),
        ("root", "$argon2id$v=19$m=65536,t=3,p=4$AAAA$AAAA"),
    ],
)
def test_no_form_of_a_name_lets_in(ground: Ground, email: str, password: str) -> None:
    answer = login(ground, email, password)
    assert answer.status_code in {400, 401}, answer.text
    assert "token" not in answer.text.replace("token_", "")


@pytest.mark.parametrize(
    "body",
    [
        {"email": {"$ne": ""}, "password": {"$ne": ""}},
        {"email": ["admin@example.com"], "password": [PASSWORD]},
        {"email": "admin@example.com", "password": None},
        {"email": "admin@example.com", "password": True},
        {"email": "admin@example.com", "password": ""},
        {"email": "admin@example.com", "password": "x" * 2000},
        {"email": "a" * 400, "password": "x"},
        {"email": "admin@example.com"},
        [],
    ],
)
def test_only_texts_are_names_and_passwords(ground: Ground, body: Any) -> None:
    with ground.as_(None) as client:
        answer = client.post("/auth/login", json=body)
    assert (answer.status_code, code_of(answer)) == (400, "invalid_input"), answer.text
    assert "xxx" not in answer.text


def test_nobody_registers_themselves(ground: Ground) -> None:
    with ground.as_(None) as client:
        answer = client.post("/auth/register", json={"email": "eve@attacks.example", "password": PASSWORD})
    assert (answer.status_code, code_of(answer)) == (403, "registration_closed")


@pytest.mark.parametrize(
    "password",
    ["short", "password1!", "12345678", "aaaaaaaaaaaa", "carol-carol", "Qwertyui1!", "carol@attacks.example"],
)
def test_a_weak_password_is_not_set(ground: Ground, password: str) -> None:
    with ground.as_(ground.stage.token) as admin:
        answer = admin.post(f"/users/{ground.carol.name}/password", json={"new_password": password})
    assert (answer.status_code, code_of(answer)) == (400, "password_refused"), answer.text
    assert password not in answer.text


def test_a_password_is_not_changed_without_the_present_one(ground: Ground) -> None:
    with ground.as_(ground.carol.token) as client:
        body = {"current_password": "guess", "new_password": "Another-that-is-fine-9"}
        answer = client.post("/users/me/password", json=body)
    assert answer.status_code in {401, 403}, answer.text
    assert code_of(answer) == "login_refused"
