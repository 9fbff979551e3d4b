"""What keeps one service's user of NATS from what belongs to another, tried from outside on a real nats-server.

Who may change a stream can let it copy from others and publish anew; who may create a consumer can have it deliver to any subject. So each
way is tried, with each user's own credentials.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import NoReturn

import nats.errors
import nats.js.errors
import pytest
from nats.aio.client import Client
from nats.js import api

from clusterodm.deploy.nats import USERS
from clusterodm.deploy.nats_users import INTEGRATION, INTEGRATIONS, LEASES, OPERATOR, RIGHTS
from clusterodm.deploy.nats_users import USERS as RIGHTS_OF_USERS
from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.bus.layout import BUCKETS, KEEPER, SNAPSHOTS
from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.messages.buckets import CONSOLES, NODES, PROGRESS, PROXIES, UPLOADS
from clusterodm.libs.common.messages.catalogue import catalogue
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED
from clusterodm.libs.common.messages.kinds import EVENTS_STREAM, Event, Request, Snapshot
from clusterodm.libs.common.messages.machines import PAUSE_AUTOSCALER, PauseAutoscaler
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.messages.placement import PLACEMENT_POSSIBLE, PlacementPossible
from clusterodm.libs.common.messages.tasks import LIST_TASKS, ListTasks, TaskList
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import InstanceId, NodeId, TaskId
from tests.nats import LEAVES_UNCLOSED
from tests.nats_users import connected, nats_of_up
from tests.waiting import until

pytestmark = [pytest.mark.slow, LEAVES_UNCLOSED]

OTHERS = [user for user in USERS if user not in {OPERATOR, KEEPER}]
STREAMS = [
    *(f"KV_{bucket.name}" for bucket in BUCKETS),
    *(snapshot.stream for snapshot in SNAPSHOTS),
    *(LEASES, EVENTS_STREAM, f"OBJ_{CONSOLES.name}"),
]
CHANGES = ("CREATE", "UPDATE", "DELETE", "PURGE", "RESTORE", "SNAPSHOT", "MSG.DELETE", "LEADER.STEPDOWN", "PEER.REMOVE")


@pytest.fixture
async def scheduler(urls: dict[str, str]) -> AsyncIterator[NatsBus]:
    """The one that makes the streams."""
    async with connect(urls[KEEPER], KEEPER) as bus:
        await bus.lay_out()
        await bus.objects(CONSOLES, 60)
        yield bus


async def test_one_service_makes_every_stream_and_what_it_makes_is_all(
    urls: dict[str, str], scheduler: NatsBus
) -> None:
    del scheduler
    async with connected(urls[OPERATOR]) as (client, _):
        there = {each.config.name for each in await client.jetstream().streams_info()}
    assert there == set(STREAMS)


@pytest.mark.parametrize("user", OTHERS)
async def test_no_other_user_may_change_any_stream(urls: dict[str, str], scheduler: NatsBus, user: str) -> None:
    del scheduler
    subjects = [f"$JS.API.STREAM.{act}.{stream}" for act in CHANGES for stream in (*STREAMS, "COPY")]
    await refused(urls[user], subjects)


async def test_the_keeper_changes_the_streams_that_there_are_and_makes_no_others(urls: dict[str, str]) -> None:
    own = {f"KV_{bucket.name}" for bucket in RIGHTS[KEEPER].writes} | {f"OBJ_{CONSOLES.name}"}
    volatile = {f"KV_{bucket.name}" for bucket in BUCKETS if not bucket.durable}
    acts = ("RESTORE", "SNAPSHOT", "MSG.DELETE", "LEADER.STEPDOWN", "PEER.REMOVE")
    subjects = [f"$JS.API.STREAM.{act}.{stream}" for act in acts for stream in STREAMS]
    subjects += [f"$JS.API.STREAM.{act}.COPY" for act in CHANGES]
    subjects += [f"$JS.API.STREAM.DELETE.{stream}" for stream in STREAMS if stream not in volatile]
    subjects += [f"$JS.API.STREAM.PURGE.{stream}" for stream in STREAMS if stream not in own]
    await refused(urls[KEEPER], subjects)


@pytest.mark.parametrize("user", [user for user in USERS if user != OPERATOR])
async def test_nobody_reads_a_stream_that_it_does_not_need(urls: dict[str, str], scheduler: NatsBus, user: str) -> None:
    del scheduler
    rights = RIGHTS_OF_USERS[user]
    read = {f"KV_{name}" for name in (*(each.name for each in (*rights.reads, *rights.writes)), *rights.keeps)}
    read |= {EVENTS_STREAM} if rights.reads_events else set()
    read |= {snapshot.stream for snapshot in rights.watches} | {f"OBJ_{store.name}" for store in rights.objects}
    subjects = [
        f"$JS.API.{way}"
        for stream in STREAMS
        if stream not in read
        for way in (
            *(f"CONSUMER.CREATE.{stream}", f"CONSUMER.CREATE.{stream}.c.x", f"CONSUMER.DURABLE.CREATE.{stream}.c"),
            *(f"CONSUMER.MSG.NEXT.{stream}.c", f"STREAM.MSG.GET.{stream}", f"DIRECT.GET.{stream}"),
        )
        if not (rights.leads and stream == LEASES and way.startswith("STREAM.MSG.GET"))
    ]
    await refused(urls[user], subjects)


@pytest.mark.parametrize("user", OTHERS)
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"sources": [{"name": "KV_nodes"}]}, id="source"),
        pytest.param({"mirror": {"name": "KV_nodes"}, "subjects": []}, id="mirror"),
        pytest.param({"republish": {"src": ">", "dest": "_INBOX.admin.copy.>"}}, id="republish"),
    ],
)
async def test_no_copy_of_what_others_keep_comes_about(
    urls: dict[str, str], scheduler: NatsBus, user: str, more: dict[str, object]
) -> None:
    """The ways that were open before: a stream that copies, or publishes anew, what lies in nodes."""
    await (await scheduler.bucket(NODES)).load()
    asked = {"name": "COPY", "subjects": ["copy.>"], "storage": "memory"} | more
    async with connected(urls[user]) as (client, _):
        for stream in ("COPY", EVENTS_STREAM, "KV_uploads", "KV_machines", "KV_nodes"):
            for act in ("CREATE", "UPDATE"):
                payload = json.dumps(asked | {"name": stream}).encode()
                with pytest.raises((nats.errors.Error, TimeoutError)):
                    await client.request(f"$JS.API.STREAM.{act}.{stream}", payload, timeout=0.05)
    async with connected(urls[OPERATOR]) as (client, _):
        for each in await client.jetstream().streams_info():
            assert (each.config.sources, each.config.mirror, each.config.republish) == (None, None, None)


ALLOWED_EVENTS = ("task", "node", "machine")


async def test_an_integration_may_say_what_is_in_its_row_and_nothing_else(urls: dict[str, str]) -> None:
    """Every request, event, snapshot and store that there is, tried from outside."""
    asks = {each.subject for each in INTEGRATIONS.requests}
    there = [each for each in catalogue().values() if isinstance(each, (Request, Event, Snapshot))]
    forbidden = [each.subject for each in there if each.subject not in asks]
    forbidden += [f"$KV.{bucket.name}.key" for bucket in BUCKETS] + [f"$O.{CONSOLES.name}.x", "$KV.leases.scheduler"]
    forbidden += ["$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$SRV.PING", "$SYS.REQ.USER.INFO"]
    forbidden += [f"_INBOX.{user}.x" for user in USERS] + ["_INBOX.x", "$JS.ACK.EVENTS.c.1.1.1.1.1", "anything"]
    forbidden += [f"$JS.API.STREAM.INFO.{stream}" for stream in STREAMS]
    await refused(urls[INTEGRATION], forbidden)
    async with connected(urls[INTEGRATION]) as (client, said):
        for subject in asks:
            with pytest.raises(nats.errors.NoRespondersError):
                await client.request(subject, b"{}", timeout=5)
        assert said == []


async def test_an_integration_hears_of_tasks_nodes_and_machines_and_nothing_else(urls: dict[str, str]) -> None:
    told = [each.subject for each in catalogue().values() if isinstance(each, (Event, Snapshot, Request))]
    heard_of = [
        subject
        for subject in told
        if subject.split(".")[1:3][:1] == ["event"] and subject.split(".")[2] in ALLOWED_EVENTS
    ]
    assert len(heard_of) > 20
    async with connected(urls[INTEGRATION]) as (client, said):
        for subject in (*heard_of, *(f"clusterodm.event.{noun}.*" for noun in ALLOWED_EVENTS)):
            await client.subscribe(subject)
        await client.flush()
        assert said == []
        for subject in (
            *(subject for subject in told if subject not in heard_of),
            *(f"_INBOX.{user}.>" for user in USERS if user != INTEGRATION),
            *(
                "_INBOX.>",
                ">",
                "*.>",
                "clusterodm.>",
                "clusterodm.event.>",
                "clusterodm.event.*.*",
                "clusterodm.scheduler.*",
            ),
            *("$KV.>", "$JS.>", "$SYS.>", "$SRV.>", "clusterodm.event.operator.acted"),
        ):
            said.clear()
            await client.subscribe(subject, cb=unheard)
            await client.flush()
            await until(lambda: said, what=f"to be refused {subject}")
            assert f'permissions violation for subscription to "{subject.lower()}"' in said[0]


async def unheard(_: object) -> None:
    """Hear what nobody should."""
    raise AssertionError


async def test_what_a_consumer_delivers_is_no_request_no_event_and_no_snapshot(
    urls: dict[str, str], scheduler: NatsBus
) -> None:
    """A proxy may read its own bucket, and so let NATS deliver what it wrote there to a subject that it may not publish to."""
    asked: list[object] = []
    heard: list[object] = []

    async def paused(message: PauseAutoscaler) -> NoReturn:
        asked.append(message)
        raise Refused("heard")

    async def hear(told: PlacementPossible) -> None:
        heard.append(told)

    async with (
        connect(urls["autoscaler"], "autoscaler") as autoscaler,
        connect(urls["proxy"], "proxy") as proxy,
        connect(urls["admin"], "admin") as admin,
        autoscaler.serve("autoscaler", {PAUSE_AUTOSCALER: paused}),
        proxy.subscribe(PLACEMENT_POSSIBLE, hear),
        connected(urls["proxy"]) as (client, _),
    ):
        demand_before = await sequence_of(urls, DEMAND_CHANGED.stream)
        nodes_before = await sequence_of(urls, "KV_nodes")
        targets = (PAUSE_AUTOSCALER.subject, PLACEMENT_POSSIBLE.subject, DEMAND_CHANGED.subject, "$KV.nodes.forged")
        for number, target in enumerate((*targets, "$JS.API.STREAM.PURGE.KV_nodes", "$JS.API.STREAM.DELETE.KV_nodes")):
            await delivered_to(client, f"key{number}", target)
        with pytest.raises(Refused, match="heard"):
            await admin.request(PAUSE_AUTOSCALER, PauseAutoscaler())  # by now whatever is delivered has come
        await scheduler.publish(PLACEMENT_POSSIBLE, PlacementPossible(tasks=()))
        await until(lambda: heard, what="the event that is meant")
        assert len(asked) == len(heard) == 1
        assert await sequence_of(urls, DEMAND_CHANGED.stream) == demand_before
        assert await sequence_of(urls, "KV_nodes") == nodes_before


async def test_no_request_has_its_answer_sent_to_where_only_a_service_may_write(
    urls: dict[str, str], scheduler: NatsBus
) -> None:
    """An answer is published with the rights of who answers: as an order it would empty a bucket, or be told as an event."""
    asked: list[object] = []

    async def listed(message: ListTasks) -> TaskList:
        asked.append(message)
        return TaskList(tasks=())

    nodes = await scheduler.bucket(NODES)
    await nodes.put("kept", Node(id=NodeId("kept"), hostname="h", port=1))
    targets = (
        *("$JS.API.STREAM.PURGE.KV_nodes", "$JS.API.STREAM.DELETE.KV_progress", "$KV.nodes.kept", "$KV.tasks.forged"),
        *("clusterodm.event.task.finished", DEMAND_CHANGED.subject, "clusterodm.scheduler.list_tasks", ""),
    )
    async with (
        scheduler.lead("scheduler", "a") as term,
        scheduler.serve("scheduler", {LIST_TASKS: listed}, term=term),
        connected(urls[INTEGRATION]) as (client, said),
    ):
        before = {stream: await sequence_of(urls, stream) for stream in ("KV_nodes", "KV_tasks", EVENTS_STREAM)}
        for target in targets:
            await client.publish(LIST_TASKS.subject, b"{}", reply=target)
        answer = await client.request(LIST_TASKS.subject, b"{}", timeout=5)
        assert answer.data == b'{"tasks":[]}'
        assert said == []
        assert len(asked) == 1, "only the one whose answer goes to an inbox"
        assert {stream: await sequence_of(urls, stream) for stream in before} == before
        assert set(await nodes.load()) >= {"kept"}


async def test_nothing_that_nats_answers_is_taken_for_a_request(urls: dict[str, str], scheduler: NatsBus) -> None:
    """A proxy may ask NATS about its streams, and name whatever subject for the answer."""
    del scheduler
    asked: list[object] = []

    async def paused(message: PauseAutoscaler) -> NoReturn:
        asked.append(message)
        raise Refused("heard")

    async with (
        connect(urls["autoscaler"], "autoscaler") as autoscaler,
        connect(urls["admin"], "admin") as admin,
        autoscaler.serve("autoscaler", {PAUSE_AUTOSCALER: paused}),
        connected(urls["proxy"]) as (client, _),
    ):
        await client.publish("$JS.API.STREAM.INFO.KV_nodes", b"", reply=PAUSE_AUTOSCALER.subject)
        await client.flush()
        with pytest.raises(Refused, match="heard"):
            await admin.request(PAUSE_AUTOSCALER, PauseAutoscaler())
        assert len(asked) == 1


async def test_a_service_waits_until_what_it_needs_is_made(tmp_path_factory: pytest.TempPathFactory) -> None:
    told = UploadProgress(task=TaskId("t"), instance=InstanceId("i"), name="n", created_at_ms=1)
    with nats_of_up(tmp_path_factory.mktemp("fresh")) as urls:
        async with connect(urls["proxy"], "proxy") as proxy, connect(urls[KEEPER], KEEPER) as scheduler:
            opening = asyncio.get_running_loop().create_task(proxy.bucket(UPLOADS))
            await (await scheduler.bucket(PROXIES)).load()
            progress = await proxy.bucket(PROGRESS)  # nobody is kept waiting for what may be lost
            with pytest.raises(BusFailed, match="progress"):
                await progress.put("k", told)
            assert not opening.done()
            await scheduler.lay_out()
            assert await (await asyncio.wait_for(opening, 10)).load() == {}
            await progress.put("k", told)
            assert set(await progress.load()) == {"k"}


async def test_a_stream_that_is_gone_is_made_anew_by_the_keeper(urls: dict[str, str], scheduler: NatsBus) -> None:
    async with connect(urls[OPERATOR], "test"), connected(urls[OPERATOR]) as (client, _):
        for stream in ("KV_uploads", "KV_leases", "KV_autoscaler-secrets", DEMAND_CHANGED.stream, EVENTS_STREAM):
            await client.jetstream().delete_stream(stream)
        await scheduler.keep_laid_out()
        assert {each.config.name for each in await client.jetstream().streams_info()} == set(STREAMS)


async def test_a_snapshot_of_an_earlier_version_is_kept_as_it_should_be(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with nats_of_up(tmp_path_factory.mktemp("older")) as urls:
        async with connected(urls[OPERATOR]) as (client, _):
            older = api.StreamConfig(
                name=DEMAND_CHANGED.stream, subjects=[DEMAND_CHANGED.subject], max_msgs_per_subject=1
            )
            await client.jetstream().add_stream(older)
            async with connect(urls[KEEPER], KEEPER) as scheduler:
                await scheduler.lay_out()
            found = (await client.jetstream().stream_info(DEMAND_CHANGED.stream)).config
            assert found.subjects == [DEMAND_CHANGED.kept]


async def refused(url: str, subjects: Sequence[str]) -> None:
    """Publish to each, and see the server refuse it."""
    async with connected(url) as (client, said):
        for subject in subjects:
            await client.publish(subject, b"")
        await client.flush()
        wanted = {f'permissions violation for publish to "{subject.lower()}"' for subject in subjects}
        await until(
            lambda: not {each for each in wanted if not any(each in line for line in said)},
            what=f"to be refused: {sorted(wanted - {line.removeprefix('nats: ') for line in said})[:5]}",
        )


async def delivered_to(client: Client, key: str, target: str) -> None:
    """Write to a bucket of the proxy's, and let a consumer deliver that somewhere else."""
    jetstream = client.jetstream()
    await jetstream.publish(f"$KV.uploads.{key}", b'{"tasks":[]}')
    await jetstream.add_consumer(
        "KV_uploads",
        api.ConsumerConfig(
            name=f"{key}x",
            deliver_subject=target,
            deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
            filter_subject=f"$KV.uploads.{key}",
            ack_policy=api.AckPolicy.NONE,
            mem_storage=True,
        ),
    )


async def sequence_of(urls: dict[str, str], stream: str) -> int:
    """Say how far a stream has got."""
    async with connected(urls[OPERATOR]) as (client, _):
        return (await client.jetstream().stream_info(stream)).state.last_seq
