"""What every bus promises: the one in memory and the one on NATS."""

import asyncio
import json
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import nats
import pytest

from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.bus.serving import SERVICES
from clusterodm.libs.common.errors import BusFailed, ClusterError, Conflict, NoNode, NotFound, Refused
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED, DemandChanged
from clusterodm.libs.common.messages.health import STANDBY_REPORTED, HealthReport, StandbyReported
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.nodes import (
    BEST_NODE,
    LIST_NODES,
    NODE_ADDED,
    BestNode,
    BestNodeFound,
    ListNodes,
    NodeEvent,
    NodeList,
)
from clusterodm.libs.common.messages.placement import (
    FINISH_REPORTED,
    PLACE_TASK,
    PLACE_TASKS,
    FinishReported,
    NotWaiting,
    Placements,
    PlaceTask,
    PlaceTasks,
    Waiting,
)
from clusterodm.libs.common.messages.tasks import GET_TASK, REMOVE_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.testing.memory_bus import MemoryTerm
from tests.nats import NatsServer
from tests.waiting import until

PLACE = PlaceTask(task=TaskId("t"), upload_owner=InstanceId("p"))


async def test_nats_answers_a_ping(bus: Bus):
    assert 0.0 <= await bus.ping_s() < 5.0


async def test_a_request_is_answered_by_its_owner(bus: Bus):
    async def best(asked: BestNode) -> BestNodeFound:
        assert asked.images_count == 7
        return BestNodeFound(node=None)

    async with bus.serve("scheduler", {BEST_NODE: best}):
        assert await bus.request(BEST_NODE, BestNode(images_count=7)) == BestNodeFound(node=None)


async def test_a_leader_whose_term_is_over_leaves_requests_to_its_successor(bus: Bus):
    async def stale(asked: BestNode) -> BestNodeFound:
        raise Refused("answered by the old leader")

    async def fresh(asked: BestNode) -> BestNodeFound:
        return BestNodeFound(node=None)

    old, new = MemoryTerm(1), MemoryTerm(2)
    async with bus.serve("scheduler", {BEST_NODE: stale}, term=old):
        with pytest.raises(Refused):
            await bus.request(BEST_NODE, BestNode(images_count=7))
        old.end()
        with pytest.raises(BusFailed):
            await bus.request(BEST_NODE, BestNode(images_count=7), timeout_s=0.3)
        async with bus.serve("scheduler", {BEST_NODE: fresh}, term=new):
            for _ in range(20):
                assert await bus.request(BEST_NODE, BestNode(images_count=7)) == BestNodeFound(node=None)


async def test_what_a_leader_decided_too_late_is_not_told(bus: Bus):
    term = MemoryTerm(1)

    async def best(asked: BestNode) -> BestNodeFound:
        term.end()
        return BestNodeFound(node=None)

    async with bus.serve("scheduler", {BEST_NODE: best}, term=term):
        with pytest.raises(BusFailed):
            await bus.request(BEST_NODE, BestNode(images_count=7), timeout_s=0.3)


@pytest.mark.parametrize("answer", [Waiting(position=2, reason="no free slot"), NotWaiting(state=None)])
async def test_a_reply_of_several_kinds_arrives_as_its_kind(bus: Bus, answer: Waiting | NotWaiting):
    async def place(asked: PlaceTask) -> Waiting | NotWaiting:
        return answer

    async with bus.serve("scheduler", {PLACE_TASK: place}):
        assert await bus.request(PLACE_TASK, PLACE) == answer


@pytest.mark.parametrize("error", [Refused, NotFound, NoNode, Conflict, BusFailed])
async def test_an_error_of_the_handler_reaches_the_caller(bus: Bus, error: type[ClusterError]):
    async def refuse(asked: PlaceTask) -> Waiting:
        raise error("nö, not\nnow")

    async with bus.serve("scheduler", {PLACE_TASK: refuse}):
        with pytest.raises(error) as caught:
            await bus.request(PLACE_TASK, PLACE)
        assert type(caught.value) is error
        assert caught.value.message == "nö, not\nnow"


async def test_a_bug_in_a_handler_is_told_without_its_text(bus: Bus):
    async def broken(asked: PlaceTask) -> Waiting:
        raise RuntimeError("token=secret")

    async with bus.serve("scheduler", {PLACE_TASK: broken}):
        with pytest.raises(BusFailed) as caught:
            await bus.request(PLACE_TASK, PLACE)
        assert "secret" not in caught.value.message


async def test_nobody_there_is_an_error_within_the_time_limit(bus: Bus):
    async with asyncio.timeout(15):
        with pytest.raises(BusFailed):
            await bus.request(LIST_NODES, ListNodes(), timeout_s=0.3)


async def test_a_slow_owner_is_an_error_within_the_time_limit(bus: Bus):
    async def sleep(asked: ListNodes) -> NodeList:
        await asyncio.sleep(30)
        return NodeList(nodes=())

    async with bus.serve("scheduler", {LIST_NODES: sleep}), asyncio.timeout(15):
        with pytest.raises(BusFailed):
            await bus.request(LIST_NODES, ListNodes(), timeout_s=0.2)


async def test_a_slow_request_does_not_hold_up_the_next(bus: Bus):
    release = asyncio.Event()

    async def place(asked: PlaceTask) -> Waiting:
        if asked.task == "slow":
            await release.wait()
        return Waiting(position=1, reason="")

    slow = PlaceTask(task=TaskId("slow"), upload_owner=InstanceId("p"))
    async with bus.serve("scheduler", {PLACE_TASK: place}), asyncio.TaskGroup() as group:
        asking = group.create_task(bus.request(PLACE_TASK, slow))
        await bus.request(PLACE_TASK, PLACE, timeout_s=15)
        assert not asking.done()
        release.set()


async def test_questions_that_are_held_open_take_no_other_request_s_turn(bus: Bus):
    release = asyncio.Event()
    open_count = 0

    async def hold(asked: PlaceTasks) -> Placements:
        nonlocal open_count
        open_count += 1
        await release.wait()
        return Placements()

    async def place(asked: PlaceTask) -> Waiting:
        return Waiting(position=1, reason="")

    count = SERVICES.at_once_count + 10
    async with bus.serve("scheduler", {PLACE_TASKS: hold, PLACE_TASK: place}), asyncio.TaskGroup() as group:
        for number in range(count):
            asked = PlaceTasks(upload_owner=InstanceId(f"p{number}"), places_count=1, hold_s=20)
            group.create_task(bus.request(PLACE_TASKS, asked))
        await until(lambda: open_count == count)
        await bus.request(PLACE_TASK, PLACE, timeout_s=15)
        release.set()


async def test_an_event_reaches_all_who_listen(bus: Bus):
    heard: list[NodeEvent] = []

    async def listen(event: NodeEvent) -> None:
        heard.append(event)

    event = NodeEvent(at_ms=5, node=NodeId("a-1"), reason="added")
    async with bus.subscribe(NODE_ADDED, listen), bus.subscribe(NODE_ADDED, listen):
        await bus.publish(NODE_ADDED, event)
        await until(lambda: heard == [event, event])


async def test_an_announcement_is_heard_and_kept_nowhere(bus: Bus):
    heard: list[str] = []

    async def listen(reported: StandbyReported) -> None:
        heard.append(reported.instance)

    said = StandbyReported(instance=InstanceId("s"), since_ms=1, health=HealthReport(ok=True, service="scheduler"))
    async with bus.subscribe(STANDBY_REPORTED, listen):
        await bus.publish(FINISH_REPORTED, FinishReported(node_task_id=NodeTaskId("t")))
        await bus.publish(STANDBY_REPORTED, said)
        await until(lambda: heard == ["s"])
    assert (await bus.stored_events(0, 100)).events == ()


async def test_a_listener_that_fails_hears_the_next_event(bus: Bus):
    heard: list[int] = []

    async def listen(event: NodeEvent) -> None:
        heard.append(event.at_ms)
        if event.at_ms == 1:
            raise ValueError("no")

    async with bus.subscribe(NODE_ADDED, listen):
        await bus.publish(NODE_ADDED, NodeEvent(at_ms=1, node=NodeId("a")))
        await bus.publish(NODE_ADDED, NodeEvent(at_ms=2, node=NodeId("a")))
        await until(lambda: heard == [1, 2])


async def test_a_follower_gets_the_last_snapshot_and_every_new_one(bus: Bus):
    seen: list[int] = []

    async def follow(demand: DemandChanged) -> None:
        seen.append(demand.waiting_count)

    await bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=1, waiting_count=1))
    await bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=2, waiting_count=2))
    async with bus.watch_snapshot(DEMAND_CHANGED, "test", follow):
        await until(lambda: seen == [2])
        await bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=3, waiting_count=3))
        await until(lambda: seen == [2, 3])


async def test_the_last_snapshot_is_the_one_that_came_last_whatever_clocks_say(bus: Bus):
    seen: list[int] = []

    async def follow(demand: DemandChanged) -> None:
        seen.append(demand.waiting_count)

    async with bus.watch_snapshot(DEMAND_CHANGED, "test", follow):
        for at_ms, count in ((7_200_000, 1), (1, 2), (3_600_000, 3)):  # by hosts whose clocks are hours apart
            await bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=at_ms, waiting_count=count))
            await until(lambda count=count: seen[-1:] == [count])


async def test_a_follower_that_comes_back_begins_with_the_last_snapshot(bus: Bus):
    async def follow(demand: DemandChanged) -> None:
        seen.append(demand.waiting_count)

    await bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=1, waiting_count=1))
    for _ in range(2):
        seen: list[int] = []
        async with bus.watch_snapshot(DEMAND_CHANGED, "test", follow):
            await until(lambda: seen == [1])  # noqa: B023 awaited within this turn


async def test_a_request_during_the_restart_of_its_owner_waits_for_it(nats_bus: NatsBus):
    async def answer(asked: ListNodes) -> NodeList:
        return NodeList(nodes=())

    async with asyncio.TaskGroup() as group:
        sent_count = nats_bus._client.stats["out_msgs"]
        asking = group.create_task(nats_bus.request(LIST_NODES, ListNodes(), timeout_s=20))
        await until(lambda: nats_bus._client.stats["out_msgs"] >= sent_count + 2, what="it to be asked again")
        async with nats_bus.serve("scheduler", {LIST_NODES: answer}):
            assert await asking == NodeList(nodes=())


async def test_what_was_asked_of_a_leader_that_died_is_answered_by_the_next(nats_bus: Bus):
    heard = asyncio.Event()

    async def die(asked: TaskRef) -> TaskRecord:
        heard.set()
        await asyncio.sleep(30)
        raise AssertionError

    async def answer(asked: TaskRef) -> TaskRecord:
        raise NotFound("answered by the next leader")

    old, new = MemoryTerm(1), MemoryTerm(2)
    async with nats_bus.serve("scheduler", {GET_TASK: die}, term=old), asyncio.TaskGroup() as group:
        asking = group.create_task(failure(nats_bus.request(GET_TASK, TaskRef(task=TaskId("t")), timeout_s=20)))
        await heard.wait()
        old.end()
        began_s = time.monotonic()
        async with nats_bus.serve("scheduler", {GET_TASK: answer}, term=new):
            assert isinstance(await asking, NotFound)
        assert time.monotonic() - began_s < 10, "long before its time is over"


async def test_what_may_not_be_done_twice_is_not_asked_twice(nats_bus: Bus):
    heard: list[str] = []

    async def die(asked: TaskRef) -> Done:
        heard.append("old")
        await asyncio.sleep(30)
        raise AssertionError

    async def answer(asked: TaskRef) -> Done:
        heard.append("new")
        return Done()

    old, new = MemoryTerm(1), MemoryTerm(2)
    async with nats_bus.serve("scheduler", {REMOVE_TASK: die}, term=old), asyncio.TaskGroup() as group:
        asking = group.create_task(failure(nats_bus.request(REMOVE_TASK, TaskRef(task=TaskId("t")), timeout_s=2)))
        await until(lambda: heard)
        old.end()
        async with nats_bus.serve("scheduler", {REMOVE_TASK: answer}, term=new):
            assert isinstance(await asking, BusFailed)
    assert heard == ["old"]


async def failure(asking: Coroutine[Any, Any, object]) -> Exception | None:
    try:
        await asking
    except ClusterError as error:
        return error
    return None


async def test_an_event_that_cannot_be_read_is_skipped(nats_bus: Bus, nats_url: str):
    heard: list[NodeEvent] = []

    async def listen(event: NodeEvent) -> None:
        heard.append(event)

    event = NodeEvent(at_ms=5, node=NodeId("a-1"), reason="added")
    client = await nats.connect(nats_url)
    async with nats_bus.subscribe(NODE_ADDED, listen):
        await client.publish(NODE_ADDED.subject, b'{"at_ms": "in a way that a later version has"}')
        await client.flush()
        await nats_bus.publish(NODE_ADDED, event)
        await until(lambda: heard == [event])
    await client.close()


async def test_a_snapshot_that_cannot_be_read_deafens_nobody(nats_bus: Bus, nats_url: str):
    seen: list[int] = []

    async def follow(demand: DemandChanged) -> None:
        seen.append(demand.waiting_count)

    client = await nats.connect(nats_url)
    await nats_bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=1, waiting_count=1))
    await client.jetstream().publish(DEMAND_CHANGED.subject, b'{"waiting_count": {"of": "a later version"}}')
    async with nats_bus.watch_snapshot(DEMAND_CHANGED, "test", follow):
        await nats_bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=2, waiting_count=2))
        await until(lambda: seen[-1:] == [2])
        await client.jetstream().publish(DEMAND_CHANGED.subject, b"{")
        await nats_bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=3, waiting_count=3))
        await until(lambda: seen[-1:] == [3])
    await client.close()


async def test_every_endpoint_shows_in_nats_micro(nats_bus: Bus, nats_url: str):
    async def answer(asked: ListNodes) -> NodeList:
        return NodeList(nodes=())

    async with nats_bus.serve("scheduler", {LIST_NODES: answer}):
        client = await nats.connect(nats_url)
        info = json.loads((await client.request("$SRV.INFO.clusterodm-scheduler", b"", timeout=15)).data)
        await client.close()
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == ["clusterodm.scheduler.list_nodes"]


async def test_an_unreadable_request_is_refused(nats_bus: Bus, nats_url: str):
    async def place(asked: PlaceTask) -> Waiting:
        return Waiting(position=1, reason="")

    async with nats_bus.serve("scheduler", {PLACE_TASK: place}):
        client = await nats.connect(nats_url)
        answer = await client.request(PLACE_TASK.subject, b'{"task": 5}', timeout=15)
        await client.close()
    assert answer.headers is not None
    assert answer.headers["Nats-Service-Error-Code"] == "refused"


async def test_no_nats_is_one_clear_error_without_the_token(tmp_path: Path):
    with pytest.raises(BusFailed) as caught:
        async with connect("nats://verysecret@127.0.0.1:1", "test", wait_s=0.5):
            pass
    assert "verysecret" not in caught.value.message
    assert "127.0.0.1:1" in caught.value.message


@pytest.mark.slow
async def test_a_bus_works_again_after_nats_was_away(nats_server: NatsServer):
    async def answer(asked: ListNodes) -> NodeList:
        return NodeList(nodes=())

    async with connect(nats_server.url, "test") as bus, bus.serve("scheduler", {LIST_NODES: answer}):
        nats_server.stop()
        with pytest.raises(BusFailed):
            await bus.request(LIST_NODES, ListNodes(), timeout_s=0.5)
        await bus.publish(NODE_ADDED, NodeEvent(at_ms=1, node=NodeId("a")))
        nats_server.start()
        await until(lambda: bus.connected)
        assert await bus.request(LIST_NODES, ListNodes(), timeout_s=20) == NodeList(nodes=())
