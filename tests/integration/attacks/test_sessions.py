"""Sessions, cursors, states and handles count with their principal only; what was made up counts for nobody."""

from typing import Any

import httpx
import pytest

from stories.attack_table import Expected
from stories.attackers import OWN_SERVER, SECRET_SERVER, Ground, bearer, marked
from stories.load import modern_call

INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "attack", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}
GUESSED = {
    "guessed": "A" * 43,
    "short": "1",
    "wildcard": ">",
    "path": "../../sessions",
    "long": "A" * 4000,
    "dots": "a.b.c",
}


def opened(ground: Ground, token: str, path: str = "/mcp") -> str:
    with ground.as_(token) as client:
        answer = client.post(path, json=INITIALIZE, headers=ACCEPT).raise_for_status()
    return answer.headers["mcp-session-id"]


def legacy_call(marker: str, tool: str = "notes-add_note") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {"text": marker}}}


def use(ground: Ground, token: str, method: str, session: str, body: object = None, **more: str) -> httpx.Response:
    headers = ACCEPT | bearer(token) | {"Mcp-Session-Id": session} | {k.replace("_", "-"): v for k, v in more.items()}
    with ground.as_(None) as client:
        return client.request(method, "/mcp", headers=headers, json=body)


@pytest.fixture(scope="module")
def session(prepared: Ground) -> str:
    """A session of alice."""
    return opened(prepared, prepared.alice.token)


USES: dict[str, tuple[str, Any]] = {
    "call": ("POST", legacy_call("attack-in-a-session")),
    "list": ("POST", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    "listen": ("GET", None),
    "end": ("DELETE", None),
    "answer": ("POST", {"jsonrpc": "2.0", "id": "1", "result": {"action": "accept", "content": {}}}),
    "cancel": ("POST", {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
    "batch": ("POST", [legacy_call("attack-in-a-session")]),
}


@pytest.mark.attack("the session of somebody else", 404, "not_found")
@pytest.mark.parametrize(("method", "body"), USES.values(), ids=USES)
def test_a_session_of_another_is_none(
    ground: Ground, expected: Expected, session: str, method: str, body: object
) -> None:
    ground.refused(use(ground, ground.bob.token, method, session, body), expected)
    assert not ground.left("attack-in-a-session")
    assert use(ground, ground.alice.token, "POST", session, USES["list"][1]).status_code == 200  # and it lives


@pytest.mark.attack("the session of somebody else, by an administrator", 404, "not_found")
def test_an_administrator_does_not_take_over_a_session(ground: Ground, expected: Expected, session: str) -> None:
    ground.refused(use(ground, ground.stage.token, "POST", session, USES["list"][1]), expected)


@pytest.mark.attack("a session of an invented name", 404, "not_found")
@pytest.mark.parametrize("guess", GUESSED.values(), ids=GUESSED)
def test_a_session_cannot_be_guessed_or_fixed(ground: Ground, expected: Expected, guess: str) -> None:
    ground.refused(use(ground, ground.bob.token, "POST", guess, legacy_call("attack-guessed")), expected)
    chosen = use(ground, ground.bob.token, "POST", guess, INITIALIZE)  # whoever opens one does not choose its name
    assert chosen.headers.get("mcp-session-id") != guess
    assert not ground.left("attack-guessed")


@pytest.mark.attack("a session without a token", 401, "token_missing")
def test_a_session_without_its_token_is_no_credential(ground: Ground, expected: Expected, session: str) -> None:
    with ground.as_(None) as client:
        answer = client.post("/mcp", json=USES["list"][1], headers=ACCEPT | {"Mcp-Session-Id": session})
    ground.refused(answer, expected)


@pytest.mark.attack("a session of one endpoint at another", 404, "not_found")
def test_a_session_of_one_server_counts_at_no_other(ground: Ground, expected: Expected, session: str) -> None:
    marker = marked()
    with ground.as_(ground.alice.token) as client:
        headers = ACCEPT | {"Mcp-Session-Id": session}
        answer = client.post(f"/servers/{SECRET_SERVER}/mcp", headers=headers, json=legacy_call(marker, "add_note"))
    ground.refused(answer, expected)
    assert not ground.left(marker)
    there = opened(ground, ground.alice.token, f"/servers/{OWN_SERVER}/mcp")
    ground.refused(use(ground, ground.alice.token, "POST", there, legacy_call(marker)), expected)
    assert not ground.left(marker)


@pytest.mark.parametrize("event", ["0", "1", "-1", "x", "18446744073709551616", "{session}", "{session}_1", "../1"])
def test_events_of_another_session_are_not_read(ground: Ground, session: str, event: str) -> None:
    own = opened(ground, ground.bob.token)
    headers = ACCEPT | {"Mcp-Session-Id": own, "Last-Event-ID": event.format(session=session)}
    with ground.as_(ground.bob.token) as client, client.stream("GET", "/mcp", headers=headers) as stream:
        assert stream.status_code in {200, 400, 404}
        if stream.status_code == 200:
            assert next(stream.iter_lines()).startswith(":")  # opened, and nothing of anybody comes


def listed(ground: Ground, token: str, cursor: object, path: str = "/mcp") -> httpx.Response:
    headers, body = modern_call("x", {}, 1)
    headers = {name: value for name, value in headers.items() if name != "Mcp-Name"} | {"Mcp-Method": "tools/list"}
    params = {"_meta": body["params"]["_meta"]} | ({"cursor": cursor} if cursor is not None else {})
    with ground.as_(token) as client:
        return client.post(path, headers=headers, json=body | {"method": "tools/list", "params": params})


CURSORS: dict[str, Any] = {
    "empty": "", "a number in text": "0", "JSON in base64": "eyJvZmZzZXQiOjB9", "guessed": "A" * 300, "a number": 7,
    "an object": {}, "long": "x" * 9000,
}  # fmt: skip


@pytest.mark.attack("a cursor that was made up", 400, "-32602")
@pytest.mark.parametrize("cursor", CURSORS.values(), ids=CURSORS)
def test_a_cursor_that_was_made_up_is_refused(ground: Ground, expected: Expected, cursor: object) -> None:
    expected.check(listed(ground, ground.bob.token, cursor))


@pytest.mark.attack("a cursor that was changed, or is of another list", 400, "-32602")
def test_a_cursor_that_was_changed_or_is_of_another_list_is_refused(ground: Ground, expected: Expected) -> None:
    cursor: str = listed(ground, ground.alice.token, None).raise_for_status().json()["result"]["nextCursor"]
    for changed in (cursor[:-4] + "AAAA", "A" + cursor[1:], cursor + "A", cursor[:-1]):
        expected.check(listed(ground, ground.alice.token, changed))
    expected.check(listed(ground, ground.alice.token, cursor, f"/servers/{SECRET_SERVER}/mcp"))
    of_hers = listed(ground, ground.bob.token, cursor)  # where the list goes on, and no more than he sees himself
    assert "secret-" not in of_hers.text


STATES: dict[str, Any] = {
    "empty": "", "short": "AAAA", "guessed": "A" * 400, "JSON in base64": "eyJob2xkIjoiMSJ9", "a number": 7,
    "a list": ["x"], "long": "x" * 9000,
}  # fmt: skip


@pytest.mark.attack("an answer to a question, with a requestState that was made up", 400, "-32602")
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_request_state_that_was_made_up_resumes_nothing(ground: Ground, expected: Expected, state: object) -> None:
    marker = marked()
    headers, body = modern_call("notes-add_note", {"text": marker}, 1)
    body["params"] |= {"requestState": state, "inputResponses": {"a": {"action": "accept", "content": {}}}}
    with ground.as_(ground.bob.token) as client:
        answer = client.post("/mcp", headers=headers, json=body)
    expected.check(answer)
    assert not ground.left(marker)


TASKS = {"a number": "1", "guessed": "A" * 60, "a path": "../1", "empty": ""}


@pytest.mark.attack("a task that was made up", 200, "-32602")
@pytest.mark.parametrize("method", ["tasks/get", "tasks/cancel", "tasks/update", "tasks/result"])
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_that_was_made_up_is_nobodys(ground: Ground, expected: Expected, method: str, task: str) -> None:
    headers, body = modern_call("x", {}, 1)
    headers |= {"Mcp-Method": method, "Mcp-Name": task}
    body |= {"method": method, "params": {"_meta": body["params"]["_meta"], "taskId": task}}
    with ground.as_(ground.bob.token) as client:
        answer = client.post("/mcp", headers=headers, json=body)
    expected.check(answer)
