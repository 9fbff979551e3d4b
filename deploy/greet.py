"""Waits until a cluster of `clusterodm up` is ready, registers its nodes, and says where it is and what to try first.

A job of `clusterodm up`, forked like its services, that ends when it has spoken: `up` itself only watches, and needs neither the
bus nor HTTP.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from clusterodm.deploy.plan import GreetingPlan, NodeAddress, shown
from clusterodm.deploy.probe import answers, listens
from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.errors import BusFailed, ClusterError, Refused
from clusterodm.libs.common.exit_codes import EXIT_FAILED
from clusterodm.libs.common.hosts import LOOPBACK
from clusterodm.libs.common.hosts import shown as address
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    LIST_NODES,
    REMOVE_NODE,
    AddNode,
    ListNodes,
    NodeRef,
    NodeView,
)
from clusterodm.libs.common.process.lifecycle import monotonic_s, until_signalled
from clusterodm.libs.common.process.watchdog import with_watchdog
from clusterodm.libs.common.telemetry.log import configure

READY_S: Final = 60.0
ONLINE_S: Final = 5.0
"""How long to wait for the nodes of this start to be seen online before the summary says how many are."""
POLL_S: Final = 0.05
AGAIN_S: Final = 2.0


async def greet(plan: GreetingPlan) -> str:
    """Do what the plan says; the text for the user. Raises ClusterError."""
    async with connect(plan.nats_url, "up", wait_s=READY_S) as bus:
        troubles = [*map(stranded, plan.left_behind)]
        troubles += [trouble for node in plan.nodes if (trouble := await register(bus, node))]
        await forget(bus, plan.gone)
        await answering(plan)
        nodes = await seen(bus, plan.nodes)
    return "\n".join([*troubles, summary(plan, nodes)])


async def greet_in_the_end(greeted: Callable[[], Awaitable[str]], again_s: float = AGAIN_S) -> str:
    """Greet, again and again where the cluster does not answer: without its nodes it does nothing. Raises ClusterError when it refuses something."""
    said = ""
    while True:
        try:
            return await greeted()
        except BusFailed as error:
            if error.message != said:
                said = error.message
                print(f"clusterodm up: not ready yet: {said}; trying again", flush=True)  # noqa: T201 its user waits
            await asyncio.sleep(again_s)


async def register(bus: NatsBus, node: NodeAddress) -> str:
    """Register a node; that it is registered already is fine. What is wrong, in a line."""
    asked = AddNode(hostname=node.hostname, port=node.port, token=node.token)
    try:
        await bus.request(ADD_NODE, asked, timeout_s=READY_S)
    except Refused as error:
        known = {(view.hostname, view.port) for view in await list_nodes(bus)}
        if (node.hostname, node.port) not in known:
            return f"node {address(node.hostname, node.port)} is not registered: {error.message}"
    return ""


async def forget(bus: NatsBus, gone: list[NodeAddress]) -> None:
    """Remove the simulated nodes that are no more."""
    addresses = {(node.hostname, node.port) for node in gone}
    if addresses:
        for view in await list_nodes(bus):
            if (view.hostname, view.port) in addresses:
                await bus.request(REMOVE_NODE, NodeRef(node=view.id))


async def answering(plan: GreetingPlan) -> None:
    """Wait until the address for clients answers, and the operators' ports too. Raises BusFailed."""
    deadline_s = monotonic_s() + READY_S
    while not await asyncio.to_thread(all_answer, plan):
        if monotonic_s() > deadline_s:
            raise BusFailed(f"port {plan.port} does not answer after {READY_S:g} s; the lines above say why")
        await asyncio.sleep(POLL_S)


def all_answer(plan: GreetingPlan) -> bool:
    """Whether every port of the cluster is there."""
    doors = filter(None, (plan.admin_cli_port, plan.admin_web_port))
    return (
        all(listens(plan.admin_host, port) for port in doors)
        and all(answers("http", LOOPBACK, port) for port in plan.own_ports)
        and answers(plan.scheme, plan.host, plan.port)
    )


async def seen(bus: NatsBus, awaited: list[NodeAddress]) -> list[NodeView]:
    """List all nodes once the awaited ones are online, or when that has taken too long."""
    wanted = {(node.hostname, node.port) for node in awaited}
    deadline_s = monotonic_s() + ONLINE_S
    while True:
        nodes = await list_nodes(bus)
        missing = wanted - {(node.hostname, node.port) for node in nodes if node.online}
        if not missing or monotonic_s() > deadline_s:
            return nodes
        await asyncio.sleep(POLL_S)


async def list_nodes(bus: NatsBus) -> list[NodeView]:
    """Ask for all nodes."""
    return list((await bus.request(LIST_NODES, ListNodes(), timeout_s=READY_S)).nodes)


def summary(plan: GreetingPlan, nodes: list[NodeView]) -> str:
    """Say where everything is, and what to try first."""
    rows = {
        "clients": clients(plan),
        "operators": operators(plan),
        "nodes": nodes_line(plan, nodes),
        "services": services(plan),
        "files": plan.data_dir,
        "try it": try_it(plan, nodes),
        "stop it": "Ctrl-C",
    }
    lines = [line for name, text in rows.items() for line in paragraph(name, text)]
    return "\n".join(["", "ClusterODM is ready.", "", *lines, ""])


def paragraph(name: str, text: str) -> list[str]:
    """Put the name before the first line of a text."""
    return [f"  {'' if place else name:<10} {line}" for place, line in enumerate(text.splitlines())]


def clients(plan: GreetingPlan) -> str:
    """Name the address that goes into WebODM, PyODM or a browser."""
    address = f"{plan.scheme}://{shown(plan.host)}:{plan.port}"
    also = f" and https://{shown(plan.host)}:{plan.secure_port}" if plan.secure_port else ""
    return f"{address}{also}{' (with ?token=...)' if plan.with_token else ''}"


def operators(plan: GreetingPlan) -> str:
    """Name the doors for operators."""
    doors = [
        f"telnet {shown(plan.admin_host)} {plan.admin_cli_port}" if plan.admin_cli_port else "",
        f"http://{shown(plan.admin_host)}:{plan.admin_web_port}" if plan.admin_web_port else "",
        f"{plan.program} node list{plan.flags}",
    ]
    return "\n".join(filter(None, doors))


def services(plan: GreetingPlan) -> str:
    """Count the services of which there are several."""
    return ", ".join(amount(count, name) for name, count in plan.several.items())


def stranded(spool: str) -> str:
    """Warn of uploads that nobody sends."""
    return (
        f"{spool} holds uploads of a proxy that is not started: give --proxies as before until their tasks have ended"
    )


def nodes_line(plan: GreetingPlan, nodes: list[NodeView]) -> str:
    """Count the nodes."""
    if not nodes:
        return f"none yet: {plan.program} node add HOST PORT{plan.flags}"
    online = sum(node.online for node in nodes)
    simulated = f", {plan.simulated_count} of them simulated: they process nothing" if plan.simulated_count else ""
    return f"{online} of {len(nodes)} online{simulated}"


def try_it(plan: GreetingPlan, nodes: list[NodeView]) -> str:
    """Say what to do first."""
    if not nodes:
        return ""
    token = "?token=..." if plan.with_token else ""
    return f"open {plan.scheme}://{shown(plan.host)}:{plan.port}/{token} and drop a few photos on the page"


def main(plan: GreetingPlan) -> int:
    """Greet, leave."""
    configure("up", "error", as_json=False)
    socket.setdefaulttimeout(READY_S)
    told: list[str] = []

    async def greeted() -> None:
        told.append(await greet_in_the_end(lambda: greet(plan)))

    try:
        asyncio.run(until_signalled(with_watchdog(greeted())))
    except ClusterError as error:
        told = [f"clusterodm up: {error.message}"]
        return EXIT_FAILED
    finally:
        print("".join(told), flush=True)  # noqa: T201 the friendly summary
    return 0
