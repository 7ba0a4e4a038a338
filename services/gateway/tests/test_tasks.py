"""Tasks of an upstream, named to each principal in a way that leads nobody else anywhere."""

import json
from typing import Any

import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.plugins import Binding, HookVerdict
from interlock_gateway.testing.asking import Answer, ask, modern_call
from interlock_gateway.testing.callers import ADA, EVE
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import result_of, upstream_at

TASK = b'{"resultType":"task","taskId":"t-1","status":"working","ttlMs":1.0}'


class Jobs:
    """An upstream whose tool answers with a task."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.headers: list[str] = []
        self.result = TASK

    async def __call__(self, request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        self.asked.append(message)
        self.headers.append(request.headers.get("Mcp-Name", ""))
        return web.Response(body=result_of(message["id"], self.result), content_type="application/json")


@pytest.fixture
async def jobs(world: EdgeWorld, serve: Any) -> Jobs:
    upstream = Jobs()
    world.register(upstream_at(await serve(upstream)))
    return upstream


async def begin(world: EdgeWorld) -> str:
    headers, body = modern_call()
    answer = await ask(world.endpoint(), body, headers, token=world.signer.token())
    result = answer.json()["result"]
    assert (result["resultType"], result["status"]) == ("task", "working")
    return result["taskId"]


async def about(world: EdgeWorld, task: str, method: str = "tasks/get", principal: str = ADA) -> Answer:
    headers, body = modern_call(method, None, taskId=task)
    headers["mcp-name"] = task
    return await ask(world.endpoint(), body, headers, token=world.signer.token(principal))


async def test_a_task_leads_back_to_its_upstream_under_the_id_it_has_there(world: EdgeWorld, jobs: Jobs) -> None:
    task = await begin(world)
    assert "t-1" not in task
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        answer = await about(world, task, method)
        assert answer.json()["result"]["taskId"] == task
        assert (jobs.asked[-1]["method"], jobs.asked[-1]["params"]["taskId"]) == (method, "t-1")
        assert jobs.headers[-1] == "t-1"


@pytest.mark.parametrize("task", ["t-1", "", "x" * 80])
async def test_a_task_that_was_not_given_out_is_unknown(world: EdgeWorld, jobs: Jobs, task: str) -> None:
    answer = await about(world, task)
    assert (answer.status, answer.json()["error"]["code"]) == (200, -32602)
    assert not jobs.asked


async def test_a_task_of_somebody_else_is_unknown(world: EdgeWorld, jobs: Jobs) -> None:
    task = await begin(world)
    answer = await about(world, task, principal=EVE)
    assert answer.json()["error"]["message"] == "Task not found"
    assert len(jobs.asked) == 1


async def test_a_task_is_renamed_wherever_it_stands(world: EdgeWorld, jobs: Jobs) -> None:
    task = await begin(world)
    jobs.result = (
        b'{"task":{"taskId":"t-1","status":"working"},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t-1"}},'
        b'"structuredContent":{"taskId":"t-1"}}'
    )
    result = (await about(world, task)).json()["result"]
    assert result["task"]["taskId"] == task
    assert result["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": task}
    assert result["structuredContent"] == {"taskId": "t-1"}


DONE = b'{"content":[{"type":"resource_link","uri":"test://secret","name":"s"}]}'


async def test_plugins_see_what_a_task_comes_to_as_they_see_an_answer_of_its_tool(world: EdgeWorld, jobs: Jobs) -> None:
    task = await begin(world)
    world.bindings.items["tool_post_invoke"] = Binding("tool_post_invoke", ("redact",), tools=("echo",))
    world.plugins.verdict = HookVerdict("replace", payload=msgspec.Raw(b'{"content":[]}'))
    jobs.result = b'{"taskId":"t-1","status":"completed","result":%s}' % DONE
    answer = (await about(world, task)).json()["result"]
    assert (answer["status"], answer["result"], answer["taskId"]) == ("completed", {"content": []}, task)
    jobs.result = DONE
    assert (await about(world, task, "tasks/result")).json()["result"]["content"] == []
    assert [bytes(asked.payload) for asked in world.plugins.asked] == [DONE, DONE]
    assert {asked.context.tool for asked in world.plugins.asked} == {"echo"}
    jobs.result = b'{"taskId":"t-1","status":"working"}'
    await about(world, task)
    assert len(world.plugins.asked) == 2
    world.bindings.items["tool_post_invoke"] = Binding("tool_post_invoke", ("redact",), tools=("other",))
    jobs.result = DONE
    assert (await about(world, task, "tasks/result")).json()["result"]["content"] != []


async def test_what_a_task_comes_to_names_resources_as_they_are_called_here(world: EdgeWorld, jobs: Jobs) -> None:
    task = await begin(world)
    jobs.result = DONE
    found = (await about(world, task, "tasks/result")).json()["result"]
    assert found["content"][0]["uri"] == "notes+test://secret"
    jobs.result = b'{"taskId":"t-1","status":"completed","result":%s}' % DONE
    found = (await about(world, task)).json()["result"]["result"]
    assert found["content"][0]["uri"] == "notes+test://secret"


@pytest.mark.parametrize(
    "result", [b'["taskId"]', b'"taskId"', b'{"content":[{"type":"resource_link","uri":5}]}', b'{"task":{"taskId":7}}']
)
async def test_a_result_of_another_shape_is_never_our_failure(world: EdgeWorld, jobs: Jobs, result: bytes) -> None:
    jobs.result = result
    headers, body = modern_call()
    answer = await ask(world.endpoint(), body, headers, token=world.signer.token())
    assert answer.status in {200, 502}
