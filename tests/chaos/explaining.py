"""What is known of a task that its client gave up: told by all who may know, so that a failure is understood at once.

The client (what it did last, and what it was answered), the record, the console, the nodes' own logs, the spools and the log of
the cluster. Whoever does not answer is told as well: nothing here raises.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import httpx
import msgspec

from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import Dataset
from tests.e2e.up import Up

LOG_LINES_COUNT = 60
ENDED_ON_NODES = "task_finished"


async def explained(up: Up, nodes: Sequence[NodeSimProcess], data: Dataset, datasets: Sequence[Dataset]) -> str:
    """Gather all that is known of a task, one thing a paragraph."""
    asked: dict[str, Callable[[], Awaitable[str]]] = {
        "record": lambda: record(up, data),
        "info": lambda: get(up, f"/task/{data.task}/info"),
        "console": lambda: get(up, f"/task/{data.task}/output"),
        "ready": lambda: get(up, "/readyz"),
        "nodes": lambda: asyncio.to_thread(on_nodes, nodes, data),
        "spools": lambda: asyncio.to_thread(in_spools, up, data),
        "others": lambda: asyncio.to_thread(others, nodes, datasets),
        "log": lambda: asyncio.to_thread(logged, up, data),
    }
    told = [f"{name}: {await said(ask)}" for name, ask in asked.items()]
    return "\n\n".join((f"given up: {data!r}", *told))


async def said(ask: Callable[[], Awaitable[str]]) -> str:
    """Ask one who may know."""
    try:
        async with asyncio.timeout(15):
            return await ask()
    except Exception as error:  # noqa: BLE001 it is told
        return f"not told: {error!r}"


async def record(up: Up, data: Dataset) -> str:
    """Ask the scheduler, and write down what it says."""
    return msgspec.json.format(msgspec.json.encode(await record_of(up, data))).decode()


async def record_of(up: Up, data: Dataset) -> Task | None:
    """Ask the scheduler; None when it has no record."""
    url = json.loads((up.data_dir / "cluster.json").read_text())["nats_url"]
    async with connect(url, "test", wait_s=5) as bus:
        try:
            return (await bus.request(GET_TASK, TaskRef(task=TaskId(data.task)), timeout_s=5)).task
        except NotFound:
            return None


async def get(up: Up, path: str) -> str:
    """Ask as a client does."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{up.port}", trust_env=False, timeout=10) as http:
        answer = await http.get(path)
    return f"{answer.status_code} {answer.text[-3000:]}"


def on_nodes(nodes: Sequence[NodeSimProcess], data: Dataset) -> str:
    """Look for whatever nodes were sent of it: each attempt has an id of its own there."""
    digests = set(data.digests.values())
    events = [(node.port, event) for node in nodes for event in node.events()]
    ids = {event["task"] for _, event in events if event.get("sha256") in digests} | {data.task}
    return "".join(f"\n  :{port} {event}" for port, event in events if event.get("task") in ids) or "never heard of it"


def in_spools(up: Up, data: Dataset) -> str:
    """List what proxies keep of it."""
    return " ".join(str(path.relative_to(up.data_dir)) for path in up.data_dir.glob(f"spool*/{data.task}/**/*"))


def others(nodes: Sequence[NodeSimProcess], datasets: Sequence[Dataset]) -> str:
    """Say how it goes with the rest: one task that stands still, or a cluster that does."""
    done_ms = sorted(event["at_ms"] for node in nodes for event in node.events(ENDED_ON_NODES))
    now_ms = time.time_ns() // 1_000_000
    recent = [sum(now_ms - at_ms < seconds * 1000 for at_ms in done_ms) for seconds in (10, 60, 150)]
    going = [data for data in datasets if data.step and not data.completed]
    shown = "".join(f"\n  {data!r}" for data in going)
    return (
        f"{sum(data.completed for data in datasets)} of {len(datasets)} completed; done by nodes in the last 10, 60, 150 s:"
        f" {recent}; under way: {len(going)}{shown}"
    )


def logged(up: Up, data: Dataset) -> str:
    """Find the last lines of the cluster's log that name it."""
    return "".join(f"\n  {line}" for line in list(naming(up.history, data.task))[-LOG_LINES_COUNT:])


def naming(text: str, task: str) -> Iterator[str]:
    """Find the lines that name a task."""
    return (line for line in text.splitlines() if task in line)
