"""A real nats-server with a user for each service: what a service needs works, what it does not need is refused."""

import asyncio
import contextlib
import os
import re
import sys
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from clusterodm.deploy.nats import USERS
from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.bus.connection import close, open_client
from clusterodm.libs.common.bus.mirror import Mirror
from clusterodm.libs.common.bus.rights import NatsDenials
from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.messages.buckets import CONSOLES, NODES, TASKS, UPLOADS
from clusterodm.libs.common.messages.health import SCHEDULER_HEALTH, LoopReport, ReportHealth
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    FIND_UI_NODE,
    LIST_NODES,
    AddNode,
    FindUiNode,
    ListNodes,
    NodeList,
)
from clusterodm.libs.common.messages.placement import PLACEMENT_POSSIBLE, PlacementPossible
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.process.loops import Loops, background, every, watched
from tests.nats import LEAVES_UNCLOSED
from tests.nats_users import EARLIER_TOKEN, changing_nats_of_up, connected
from tests.waiting import until

pytestmark = LEAVES_UNCLOSED  # what is refused while it connects, nats-py leaves open
NODE = Node(id=NodeId("n"), hostname="h", port=1, token="s3cret")
STORES = ("KV_nodes", "KV_tasks", "KV_secrets", "KV_autoscaler-secrets", "KV_leases")


async def test_every_service_does_what_it_needs(urls: dict[str, str]) -> None:
    async def listed(_: object) -> NodeList:
        return NodeList(nodes=())

    async with (
        connect(urls["scheduler"], "scheduler") as scheduler,
        connect(urls["proxy"], "proxy") as proxy,
        connect(urls["admin"], "admin") as admin,
        connect(urls["autoscaler"], "autoscaler") as autoscaler,
    ):
        await scheduler.lay_out()
        nodes = await scheduler.bucket(NODES)
        revision = await nodes.create("n", NODE)
        await nodes.update("n", NODE, revision)
        mirror = await proxy.bucket(NODES)
        found = await mirror.get("n")
        assert found is not None
        assert found.value.token == "s3cret"
        assert [entry.key for entry in (await mirror.load()).values()] == ["n"]
        assert [entry.key async for page in mirror.pages() for entry in page] == ["n"]
        assert await (await proxy.bucket(UPLOADS)).load() == {}
        assert await (await autoscaler.bucket(TASKS)).load() == {}
        consoles = await scheduler.objects(CONSOLES, 60)
        await consoles.put("t", b"a line of the node")
        assert await consoles.get("t") == b"a line of the node"
        heard: list[PlacementPossible] = []

        async def hear(told: PlacementPossible) -> None:
            heard.append(told)

        async with (
            scheduler.lead("scheduler", "a") as term,
            autoscaler.lead("autoscaler", "b"),
            scheduler.serve("scheduler", {LIST_NODES: listed}, term=term),
            proxy.subscribe(PLACEMENT_POSSIBLE, hear),
        ):
            assert await admin.request(LIST_NODES, ListNodes()) == NodeList(nodes=())
            assert await autoscaler.request(LIST_NODES, ListNodes()) == NodeList(nodes=())

            async def told() -> bool:
                await scheduler.publish(PLACEMENT_POSSIBLE, PlacementPossible(tasks=()))
                return bool(heard)

            await until(told, what="the hint to be heard")


@pytest.mark.parametrize(
    ("user", "subjects"),
    [
        (
            "proxy",
            (
                *("$KV.nodes.n", "$KV.tasks.t", "$KV.machines.m", "$KV.leases.scheduler", "$KV.autoscaler-secrets.key"),
                *(
                    "clusterodm.scheduler.add_node",
                    "clusterodm.scheduler.list_nodes",
                    "clusterodm.autoscaler.destroy_machine",
                ),
                *("clusterodm.event.task.finished", "clusterodm.demand.changed", "_INBOX.admin.x", "_INBOX.x"),
                *("$JS.API.STREAM.MSG.GET.KV_autoscaler-secrets", "$JS.API.CONSUMER.CREATE.KV_autoscaler-secrets"),
                *("$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$SRV.PING"),
            ),
        ),
        (
            "admin",
            (
                *(
                    "$KV.nodes.n",
                    "$KV.secrets.s",
                    "$JS.API.STREAM.MSG.GET.KV_nodes",
                    "$JS.API.DIRECT.GET.KV_nodes.$KV.nodes.n",
                ),
                *(
                    "$JS.API.CONSUMER.CREATE.KV_nodes.c.$KV.nodes.>",
                    "clusterodm.scheduler.submit_task",
                    "clusterodm.event.x",
                ),
                "clusterodm.scheduler.place_tasks",
            ),
        ),
        (
            "autoscaler",
            (
                *("$KV.nodes.n", "$KV.tasks.t", "$KV.leases.scheduler", "$JS.API.STREAM.MSG.GET.KV_secrets"),
                *(
                    "clusterodm.scheduler.cancel_task",
                    "clusterodm.scheduler.remove_node",
                    "clusterodm.event.task.finished",
                ),
            ),
        ),
        (
            "scheduler",
            (
                *("$KV.machines.m", "$KV.secrets.s", "$KV.leases.autoscaler", "$JS.API.STREAM.MSG.GET.KV_secrets"),
                *("clusterodm.autoscaler.destroy_machine", "clusterodm.supply.changed", "$JS.API.STREAM.DELETE.EVENTS"),
            ),
        ),
    ],
)
async def test_what_a_service_does_not_need_it_may_not_say(
    urls: dict[str, str], user: str, subjects: tuple[str, ...]
) -> None:
    whoever = [f"$JS.API.STREAM.{act}.{stream}" for act in ("DELETE", "SNAPSHOT", "MSG.DELETE") for stream in STORES]
    foreign = [] if user == "scheduler" else [f"$JS.API.STREAM.{act}.KV_tasks" for act in ("PURGE", "UPDATE")]
    async with connected(urls[user]) as (client, refused):
        for subject in (*subjects, *whoever, *foreign):
            refused.clear()
            await client.publish(subject, b"{}")
            await client.flush()
            await until(lambda: refused, what=f"{user} to be refused {subject}")
            assert f'permissions violation for publish to "{subject.lower()}"' in refused[0]


@pytest.mark.parametrize("user", [user for user in USERS if user != "operator"])
async def test_no_service_hears_what_another_is_told(urls: dict[str, str], user: str) -> None:
    others = [f"_INBOX.{other}.>" for other in USERS if other != user]
    owned = [f"clusterodm.{owner}.*" for owner in ("scheduler", "autoscaler") if owner != user]
    async with connected(urls[user]) as (client, refused):
        for subject in (
            ">",
            "_INBOX.>",
            "_INBOX.*.>",
            "$KV.>",
            "$JS.>",
            "clusterodm.>",
            *(["clusterodm.event.>"] if user != "admin" else []),  # the admin shows them
            *others,
            *owned,
        ):
            refused.clear()
            await client.subscribe(subject)
            await client.flush()
            await until(lambda: refused, what=f"{user} to be refused {subject}")
            assert f'permissions violation for subscription to "{subject.lower()}"' in refused[0]


@pytest.mark.parametrize("who", ["", f"{EARLIER_TOKEN}@", "proxy:wrong@", "nobody:x@"])
async def test_nobody_else_gets_in(urls: dict[str, str], who: str) -> None:
    address = urls["proxy"].rpartition("@")[2]
    with pytest.raises((nats.errors.Error, OSError)):
        await nats.connect(f"nats://{who}{address}", max_reconnect_attempts=0, allow_reconnect=False, connect_timeout=5)


async def test_a_service_that_is_refused_does_not_take_the_silence_for_an_answer(urls: dict[str, str]) -> None:
    async with connect(urls["proxy"], "proxy") as proxy:
        with pytest.raises(BusFailed):
            await proxy.request(ADD_NODE, AddNode(hostname="h", port=1), timeout_s=0.5)


async def test_the_operator_may_do_everything(urls: dict[str, str]) -> None:
    async with connect(urls["scheduler"], "scheduler") as bus:
        await bus.lay_out()
    async with connected(urls["operator"]) as (client, refused):
        names = [info.config.name for info in await client.jetstream().streams_info()]
        await client.subscribe(">")
        await client.flush()
        assert "EVENTS" in names
        assert refused == []


async def test_a_wrong_password_is_called_that(urls: dict[str, str]):
    url = re.sub(r":p\w+@", ":wrong@", urls["proxy"])
    with pytest.raises(BusFailed, match="it refuses the user or the password") as failed:
        async with connect(url, "proxy", wait_s=3.0):
            pass
    assert "wrong@" not in str(failed.value)


async def test_a_user_without_the_rights_is_called_that(urls: dict[str, str]):
    with pytest.raises(BusFailed, match="has not the rights that are needed \\(permissions violation"):
        async with connect(urls["admin"], "proxy", wait_s=3.0) as bus:
            await bus.bucket(UPLOADS)


async def test_a_service_with_a_wrong_password_says_so_and_ends_with_78(urls: dict[str, str]):
    url = re.sub(r":p\w+@", ":wrong@", urls["scheduler"])
    program = Path(sys.executable).with_name("clusterodm")
    environment = {**os.environ, "CLUSTERODM_NATS_URL": url, "CLUSTERODM_NATS_WAIT_S": "3"}
    process = await asyncio.create_subprocess_exec(program, "scheduler", env=environment, stdout=PIPE, stderr=PIPE)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    [line] = [line for line in said.decode().splitlines() if line.startswith("clusterodm scheduler: ")]
    assert line.endswith(": it refuses the user or the password")
    assert "wrong" not in line
    assert process.returncode == 78


async def test_a_right_that_a_loop_has_not_is_its_failure_and_says_which(urls: dict[str, str]) -> None:
    loops = Loops(SystemClock())
    with watched(loops):
        async with connect(urls["scheduler"], "scheduler") as scheduler, connect(urls["proxy"], "proxy") as proxy:
            await scheduler.lay_out()
            nodes = await proxy.bucket(NODES)
            writing = every(0.1, lambda: nodes.put("n", NODE), "write nodes")
            async with background(lambda: writing, "write nodes"):
                await until(lambda: not said_of(loops, "write nodes").ok, timeout_s=30)
                said = said_of(loops, "write nodes")
    assert said.failures_count == 1
    assert said.error.startswith("BusDenied: nodes/n not written")
    assert said.error.endswith("NATS has refused: publish to $KV.nodes.>")


async def test_a_mirror_that_nats_refuses_is_a_failure_of_its_loop_until_the_right_is_there(tmp_path: Path) -> None:
    loops, mirror = Loops(SystemClock()), Mirror[Node]("nodes")
    async with AsyncExitStack() as opened:
        urls, without = opened.enter_context(changing_nats_of_up(tmp_path))
        scheduler = await opened.enter_async_context(connect(urls["scheduler"], "scheduler"))
        await scheduler.lay_out()
        opened.enter_context(watched(loops))
        proxy = await opened.enter_async_context(connect(urls["proxy"], "proxy"))
        nodes = await proxy.bucket(NODES)

        async def refused() -> bool:
            with contextlib.suppress(BusFailed):
                _ = [page async for page in nodes.pages()]
            return bool(proxy.rights_lacking())

        without("$JS.API.CONSUMER.CREATE.KV_nodes.>")
        await until(refused, what="the right to be lacking")
        async with background(lambda: mirror.watch(nodes), "mirror nodes"):
            await until(lambda: not said_of(loops, "mirror nodes").ok, timeout_s=30)
            said = said_of(loops, "mirror nodes")
            assert said.failures_count == 1
            assert said.error.endswith("NATS has refused: publish to $JS.API.CONSUMER.CREATE.KV_nodes.>")
            without("")
            await until(lambda: said_of(loops, "mirror nodes").ok, timeout_s=30)
            assert mirror.loaded.is_set()


def said_of(loops: Loops, name: str) -> LoopReport:
    """Say how the loop of a name is."""
    [found] = [loop for loop in loops.report() if loop.name == name]
    return found


@pytest.mark.parametrize(
    ("user", "asked", "message"),
    [
        pytest.param("proxy", FIND_UI_NODE, FindUiNode(), id="proxy"),
        pytest.param("scheduler", SCHEDULER_HEALTH, ReportHealth(), id="scheduler"),
        pytest.param("autoscaler", LIST_NODES, ListNodes(), id="autoscaler"),
        pytest.param("admin", LIST_NODES, ListNodes(), id="admin"),
    ],
)
async def test_a_service_is_not_ready_while_nats_refuses_what_its_clients_need(
    tmp_path: Path, user: str, asked: Request[Any, Any], message: object
) -> None:
    async def answer(_: object) -> None:
        raise Refused("an answer, too")

    loops = Loops(SystemClock())
    health = Health(user, dict, loops=loops)

    def lacking() -> list[str]:
        """Say what `/readyz` names."""
        well, said = health.page("/readyz", errors=False) or (True, {})
        rights = [each["right"] for each in said.get("rights_refused", ())]
        assert well is not bool(rights)
        return rights

    async with AsyncExitStack() as opened:
        urls, without = opened.enter_context(changing_nats_of_up(tmp_path))
        scheduler = await opened.enter_async_context(connect(urls["scheduler"], "scheduler"))
        await scheduler.lay_out()
        term = await opened.enter_async_context(scheduler.lead("scheduler", "a"))
        await opened.enter_async_context(scheduler.serve("scheduler", {asked: answer}, term=term))
        opened.enter_context(watched(loops))
        bus = await opened.enter_async_context(connect(urls[user], user))

        async def ask() -> None:
            with contextlib.suppress(BusFailed, Refused):
                await bus.request(asked, message, timeout_s=0.5)

        async def refused() -> bool:
            await ask()
            return bool(lacking())

        async def granted() -> bool:
            return not await refused()

        await ask()
        assert lacking() == []
        without(asked.subject)
        await until(refused, what="the right to be lacking")
        assert lacking() == [f"publish to {asked.subject}"]
        assert health.alive
        without("")
        await until(granted, what="the right to be there again")


async def test_a_refusal_of_what_others_name_makes_no_service_unready(urls: dict[str, str]) -> None:
    denials = NatsDenials()
    client = await open_client(urls["proxy"], "proxy", 5.0, denials)
    for subject in ("whatever.a.client.says", "_INBOX.admin.x", "_INBOX.x"):
        before = SystemClock().instant()
        await client.publish(subject, b"{}")
        await until(lambda since=before: denials.since(since), what=f"{subject} to be refused")
        assert denials.lacking() == ()
    await close(client, 5.0)
