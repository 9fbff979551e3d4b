"""Polls never lie: info and output of tasks whose node is well, away, hung, forgetful or talks nonsense."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.model.nodes import Node, OptionValue
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, LastKnown, Moment, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, TaskId
from clusterodm.services.proxy.cluster.handlers.confirming import HOLD_S, RETRIES
from tests.ports import free_port
from tests.proxies import ProxyUnderTest, ScriptedNode, response
from tests.waiting import until

TASK = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
ON_NODE = NodeTaskId("bbbbbbbb-2222-4222-8222-222222222222")
INFO = f"/task/{ON_NODE}/info"
OUTPUT = f"/task/{ON_NODE}/output"
SAYS: dict[str, Any] = {
    "uuid": ON_NODE,
    "name": "on the node",
    "dateCreated": 1,
    "processingTime": 1234.0,
    "status": {"code": 20},
    "options": [{"name": "dsm", "value": True}],
    "imagesCount": 3,
    "progress": 42.5,
}


@pytest.fixture
async def node(proxy: ProxyUnderTest, script: ScriptedNode) -> Node:
    return await proxy.scheduler.add_node("127.0.0.1", script.port, token="node secret")


def running(node: Node, **values: Any) -> Task:
    """A task on a node, under another id there."""
    attempt = Attempt(number=2, node=node.id, node_task_id=ON_NODE, state=AttemptState.RUNNING, running_at_ms=1_005)
    known = LastKnown(
        code=StatusCode.RUNNING,
        progress=30.0,
        processing_time_ms=1000,
        options=(OptionValue("dsm", True),),
        console_count=10,
        console_tail=("n8", "n9"),
    )
    given = {
        "state": TaskState.RUNNING,
        "attempts": (attempt,),
        "known": known,
        "timeline": (Moment(at_ms=1_000, text="accepted"), Moment(at_ms=1_005, text="running on A")),
        **values,
    }
    return Task(
        id=TASK,
        name="mine",
        upload_owner=InstanceId("i"),
        created_at_ms=900,
        committed_at_ms=1_000,
        images_count=3,
        **given,
    )


async def known_to(proxy: ProxyUnderTest, task: Task) -> None:
    """Have the mirror hear of a task."""
    await proxy.scheduler.put(task)
    await until(lambda: (found := proxy.cluster.task(task.id)) and found.task == task)


async def test_a_running_task_is_described_by_its_node_under_the_public_id(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    script.say_json(INFO, SAYS)
    await known_to(proxy, running(node))

    status, info = await proxy.json("GET", f"/task/{TASK}/info?token=")

    assert status == 200
    assert info == {**SAYS, "uuid": TASK, "name": "mine", "dateCreated": 900, "processingTime": 1234}
    assert script.requests[0].startswith(f"GET {INFO}?token=node+secret HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("said", "shown"),
    [(10, 20), (20, 20), (30, 20), (40, 20), (50, 20)],
    ids=["queued for a moment", "running", "failed", "completed", "canceled"],
)
async def test_that_a_task_has_ended_is_for_the_scheduler_to_say(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, said: int, shown: int
) -> None:
    script.say_json(INFO, {**SAYS, "status": {"code": said, "errorMessage": "Not enough memory"}})
    await known_to(proxy, running(node))

    _, info = await proxy.json("GET", f"/task/{TASK}/info")

    assert info["status"] == {"code": shown}
    hints = [message.node_task_id for name, message in proxy.bus.published if name == "hint.finish_reported"]
    assert hints == ([ON_NODE] if said >= 30 else [])


NONSENSE = [
    pytest.param([response(b'{"error":"not found"}')], id="an error"),
    pytest.param([response(b'{"error":null,"status":{"code":20}}')], id="an error that is null"),
    pytest.param([response(b'{"status":{"code":0}}')], id="a code that does not exist"),
    pytest.param([response(b'{"status":20}')], id="a status that is no object"),
    pytest.param([response(b"[]")], id="a list"),
    pytest.param([response(b"<html>")], id="no JSON"),
    pytest.param([response(b"oops", "500 Oops")], id="500"),
    pytest.param([response(b"", "401 unauthorized")], id="401"),
    pytest.param([b"garbage\r\n\r\n"], id="no HTTP"),
    pytest.param([response(b'{"status"', length=1000), 9.0], id="stops half-way"),
    pytest.param([9.0], id="hangs"),
]


@pytest.mark.parametrize("steps", NONSENSE)
@pytest.mark.parametrize("what", ["info", "info?with_output=0", "output"])
async def test_a_node_in_trouble_is_never_heard_in_a_poll(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, steps: list[bytes | float], what: str
) -> None:
    script.say(f"/task/{ON_NODE}/", *steps)
    await known_to(proxy, running(node))
    began_s = time.monotonic()

    status, answer = await proxy.json("GET", f"/task/{TASK}/{what}")

    assert time.monotonic() - began_s < 6.0, "the node's answer would have come after nine seconds"
    assert status == 200
    if what == "output" and steps == [response(b"[]")]:
        assert answer == ["accepted", "running on A"]
    elif what == "output":
        assert answer == ["accepted", "running on A", "n8", "n9"]
    else:
        assert "error" not in answer
        assert (answer["uuid"], answer["status"], answer["progress"]) == (TASK, {"code": 20}, 30.0)


async def test_a_dead_node_is_no_trouble_for_a_poll(proxy: ProxyUnderTest, node: Node, script: ScriptedNode) -> None:
    gone = await proxy.scheduler.add_node("127.0.0.1", 1)
    await known_to(proxy, running(gone))

    status, info = await proxy.json("GET", f"/task/{TASK}/info?with_output=10")

    assert (status, info["status"], info["output"]) == (200, {"code": 20}, ["n8", "n9"])


async def test_many_polls_of_a_hung_node_delay_no_other(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    await known_to(proxy, running(node))
    hung = [asyncio.ensure_future(proxy.json("GET", f"/task/{TASK}/output?line={n}")) for n in range(100)]  # noqa: TID251 one reader of many
    await until(lambda: script.requests)  # all wait for what it says, or ask it themselves

    assert (await proxy.ask("GET", "/info"))[0] == 200

    assert not any(each.done() for each in hung)
    assert {status for status, _ in await asyncio.gather(*hung)} == {200}


async def test_identical_polls_at_the_same_time_are_one_request_to_the_node(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    script.say(INFO, 0.2, response(msgspec.json.encode(SAYS)))
    await known_to(proxy, running(node))

    answers = await asyncio.gather(*(proxy.json("GET", f"/task/{TASK}/info") for _ in range(30)))

    assert [info["progress"] for _, info in answers] == [42.5] * 30
    assert len(script.requests) < 5


async def test_a_client_that_leaves_takes_no_other_clients_answer_along(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    script.say(INFO, 0.3, response(msgspec.json.encode(SAYS)))
    await known_to(proxy, running(node))
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(f"GET /task/{TASK}/info HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    await until(lambda: script.requests)

    second = asyncio.ensure_future(proxy.json("GET", f"/task/{TASK}/info"))  # noqa: TID251 it is to be under way
    writer.transport.abort()

    assert (await second)[1]["progress"] in (42.5, 30.0)


async def test_after_a_poll_that_timed_out_the_next_ones_are_answered_at_once(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    await known_to(proxy, running(node))
    assert (await proxy.json("GET", f"/task/{TASK}/info"))[1]["progress"] == 30.0

    for number in range(10):
        _, info = await proxy.json("GET", f"/task/{TASK}/info?with_output={number}")
        assert info["progress"] == 30.0
    assert len(script.requests) < 4, "only the first one has waited for the node, and one after each of its pauses"

    script.say_json(INFO, SAYS)
    await until(lambda: fresh(proxy), what="the node to be asked again")


async def fresh(proxy: ProxyUnderTest) -> bool:
    """Whether a poll shows what the node says."""
    return bool((await proxy.json("GET", f"/task/{TASK}/info"))[1]["progress"] == 42.5)


async def test_hung_nodes_slow_down_neither_commits_nor_lists(proxy: ProxyUnderTest, node: Node) -> None:
    hung_ids = [TaskId(f"aaaaaaaa-1111-4111-8111-{number:012}") for number in range(20)]
    asked_count = 0

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked_count
        asked_count += bool(await reader.readline())
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, [f"127.0.1.{number + 1}" for number in range(20)], free_port()) as hung:
        port = hung.sockets[0].getsockname()[1]
        for number, each in enumerate(hung_ids):
            hung_node = msgspec.structs.replace(
                node, id=NodeId(f"hung-{number}"), hostname=f"127.0.1.{number + 1}", port=port
            )
            await proxy.scheduler.nodes.put(hung_node.id, hung_node)
            await proxy.scheduler.put(msgspec.structs.replace(running(hung_node), id=each))
        await until(lambda: len(list(proxy.cluster.tasks())) == 20)
        tasks = [await proxy.init() for _ in range(20)]
        for task in tasks:
            await proxy.upload(task, ("a.jpg", b"x"))

        polls = [asyncio.ensure_future(proxy.json("GET", f"/task/{each}/info")) for each in hung_ids]  # noqa: TID251 under way
        began_s = time.monotonic()
        for task in tasks:
            assert await proxy.json("POST", f"/task/new/commit/{task}") == (200, {"uuid": task})
            assert (await proxy.json("GET", "/task/list"))[0] == 200
        took_s = time.monotonic() - began_s

        assert {status for status, _ in await asyncio.gather(*polls)} == {200}
    assert asked_count, "they hang"
    assert took_s < 15.0, "forty steps, each of which would wait 0.4 s for a node"


@pytest.mark.parametrize(
    ("state", "code"), [(TaskState.COMPLETED, 40), (TaskState.FAILED, 30), (TaskState.CANCELED, 50)]
)
async def test_an_ended_task_is_what_its_record_says(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, state: TaskState, code: int
) -> None:
    script.say_json(INFO, SAYS)
    await known_to(proxy, running(node, state=state, error="Cannot process dataset" if code == 30 else ""))

    for query in ("", "?with_output=0"):
        _, info = await proxy.json("GET", f"/task/{TASK}/info{query}")
        words = {"errorMessage": "Cannot process dataset"} if code == 30 else {}
        assert info["status"] == {"code": code, **words}


async def test_a_waiting_task_is_queued_and_says_why_and_where(proxy: ProxyUnderTest) -> None:
    node = Node(id="n", hostname="h", port=1)  # type: ignore[arg-type]
    waiting = running(node, state=TaskState.WAITING, attempts=(), known=None, waiting_because="busy")
    await known_to(proxy, waiting)

    _, info = await proxy.json("GET", f"/task/{TASK}/info?with_output=0")

    assert info["status"] == {"code": 10}
    assert info["output"] == ["accepted", "running on A (place 1 in the queue)"]
    assert info["processingTime"] == -1


async def test_a_waiting_sub_model_is_running(proxy: ProxyUnderTest) -> None:
    node = Node(id="n", hostname="h", port=1)  # type: ignore[arg-type]
    await known_to(proxy, running(node, state=TaskState.WAITING, attempts=(), known=None, submodel=True))

    _, info = await proxy.json("GET", f"/task/{TASK}/info")

    assert info["status"] == {"code": 20}


@pytest.mark.parametrize(
    ("asked", "asked_of_node", "shown"),
    [
        pytest.param("0", "0", ["accepted", "running on A", "n0", "n1"], id="all"),
        pytest.param("1", "0", ["running on A", "n0", "n1"], id="from within the cluster's lines"),
        pytest.param("2", "0", ["n0", "n1"], id="the node's"),
        pytest.param("5", "3", ["n0", "n1"], id="from within the node's"),
        pytest.param("-2", "-2", ["n0", "n1"], id="the last two"),
        pytest.param("-3", "-3", ["running on A", "n0", "n1"], id="the last three"),
        pytest.param("abc", "0", ["accepted", "running on A", "n0", "n1"], id="no number"),
        pytest.param("", "0", ["accepted", "running on A", "n0", "n1"], id="empty"),
    ],
)
async def test_lines_are_counted_over_the_whole_task(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, asked: str, asked_of_node: str, shown: list[str]
) -> None:
    script.say_json(INFO, {**SAYS, "output": ["n0", "n1"]})
    script.say_json(OUTPUT, ["n0", "n1"])
    await known_to(proxy, running(node))

    _, info = await proxy.json("GET", f"/task/{TASK}/info?with_output={asked}")
    _, lines = await proxy.json("GET", f"/task/{TASK}/output?line={asked}")

    assert info["output"] == lines == shown
    assert [head.split()[1].split("?")[1].split("&")[0] for head in script.requests] == [
        f"with_output={asked_of_node}",
        f"line={asked_of_node}",
    ]


async def test_lines_past_the_end_are_an_empty_list_and_output_comes_only_when_asked(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    script.say_json(INFO, {**SAYS, "output": []})
    await known_to(proxy, running(node))

    assert (await proxy.json("GET", f"/task/{TASK}/info?with_output=99"))[1]["output"] == []
    assert "output" not in (await proxy.json("GET", f"/task/{TASK}/info"))[1]


async def test_the_clusters_last_lines_follow_the_nodes_once_a_task_has_ended(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    script.say_json(OUTPUT, ["n0", "n1"])
    ended = running(node, state=TaskState.COMPLETED)
    await known_to(
        proxy, running(node, state=TaskState.COMPLETED, timeline=(*ended.timeline, Moment(at_ms=2_000, text="done")))
    )

    assert (await proxy.json("GET", f"/task/{TASK}/output"))[1] == ["accepted", "running on A", "n0", "n1", "done"]


# --- when little is known ------------------------------------------------------------------------------------------


async def test_a_task_that_the_mirror_lacks_is_asked_for(proxy: ProxyUnderTest, node: Node) -> None:
    task = running(node, state=TaskState.WAITING, attempts=(), known=None)
    await known_to(proxy, task)
    proxy.cluster.forget(TASK)

    assert (await proxy.json("GET", f"/task/{TASK}/output"))[0] == 200


async def test_an_unknown_task_gets_the_originals_words(proxy: ProxyUnderTest) -> None:
    for action in ("info", "output", "whatever"):
        assert await proxy.json("GET", f"/task/{TASK}/{action}") == (
            200,
            {"error": f"Invalid route for taskId {TASK}:{action}, no task table entry."},
        )


@pytest.mark.slow
async def test_when_nobody_can_tell_the_connection_is_held_and_closed_without_a_byte(proxy: ProxyUnderTest) -> None:
    proxy.bus.connected = False
    began_s = time.monotonic()

    paths = [f"/task/{TASK}/{action}" for action in ("info", "output", "download/all.zip")]
    answers = await asyncio.gather(*(proxy.raw(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()) for path in paths))

    assert answers == [b"", b"", b""]
    assert HOLD_S - RETRIES.longest_s < time.monotonic() - began_s < 2 * HOLD_S + 4


async def test_without_the_bus_known_tasks_are_answered_from_memory(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    script.say_json(INFO, SAYS)
    await known_to(proxy, running(node))
    assert await proxy.json("GET", "/task/list") == (200, [{"uuid": TASK}])
    proxy.bus.connected = False

    assert (await proxy.json("GET", f"/task/{TASK}/info"))[1]["progress"] == 42.5
    assert await proxy.json("GET", "/task/list") == (200, [{"uuid": TASK}])


async def test_removed_tasks_and_those_of_others_are_unknown(proxy: ProxyUnderTest, node: Node) -> None:
    await known_to(proxy, running(node, removed=True))
    assert "no task table entry" in (await proxy.json("GET", f"/task/{TASK}/info"))[1]["error"]
    assert await proxy.json("GET", "/task/list") == (200, [])

    await known_to(proxy, running(node, owner=owner_of("somebody")))
    assert "no task table entry" in (await proxy.json("GET", f"/task/{TASK}/info?token=else"))[1]["error"]
    assert (await proxy.json("GET", f"/task/{TASK}/info?token=somebody"))[0] == 200
    assert await proxy.json("GET", "/task/list?token=else") == (200, [])
    assert await proxy.json("GET", "/task/list") == (200, [])


async def test_connections_to_a_node_are_kept_and_a_stale_one_is_replaced(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    script.say_json(INFO, SAYS)
    await known_to(proxy, running(node))

    for _ in range(5):
        await proxy.json("GET", f"/task/{TASK}/info")
    assert script.connections_count == 1

    script.keep_open = False
    for _ in range(3):
        assert (await proxy.json("GET", f"/task/{TASK}/info"))[1]["progress"] == 42.5
