"""A store and a spool with tasks that run and tasks that wait."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.history import running_task, waiting_task, written
from benchmarks.stages import node_record
from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.messages.buckets import NODES, TASKS
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import InstanceId, NodeId
from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.upload import Draft, Manifest, StoredFile
from tests.nats import NatsServer

PROXY = InstanceId("5ca1ab1e5ca1ab1e5ca1ab1e5ca1ab1e")
"""Whose spool it is."""
CONTENT = b"\xff\xd8 an image \xff\xd9"


def running_on(nodes_count: int, count: int, port: int) -> list[Task]:
    """Make records of tasks that run, dealt out to the first nodes."""
    return [on_node(running_task(number, port), node_record(number % nodes_count, port).id) for number in range(count)]


def on_node(task: Task, node: NodeId) -> Task:
    """Move a running task's record to another node."""
    attempt = msgspec.structs.replace(task.attempts[-1], node=node)
    return msgspec.structs.replace(task, attempts=(attempt,))


def spooled(spool: Path, count: int, port: int) -> list[Task]:
    """Write tasks that wait into an empty spool, as a proxy keeps them; their records."""
    spool.mkdir(parents=True)
    (spool / "instance").write_text(PROXY)
    records = [msgspec.structs.replace(waiting_task(number, port), upload_owner=PROXY) for number in range(count)]
    for record in records:
        write_entry(spool / record.id, record)
    return records


def write_entry(folder: Path, record: Task) -> None:
    """Write what a spool keeps of one committed task."""
    (folder / disk.FILES).mkdir(parents=True)
    (folder / disk.PARTS).mkdir()
    (folder / disk.FILES / "one.jpg").write_bytes(CONTENT)
    draft = Draft(task=record.id, name=record.name, owner=record.owner, created_at_ms=record.created_at_ms)
    stored = StoredFile(name="one.jpg", size_bytes=len(CONTENT))
    manifest = Manifest(
        files=(stored,), images_count=1, size_bytes=stored.size_bytes, committed_at_ms=record.committed_at_ms
    )
    notes = {disk.DRAFT: draft, disk.MANIFEST: manifest, disk.HISTORY: History(committed_at_ms=record.committed_at_ms)}
    for name, note in notes.items():
        (folder / name).write_bytes(msgspec.json.encode(note))


async def write_active(nats: NatsServer, port: int, nodes_count: int, tasks: Iterable[Task]) -> None:
    """Fill an empty store with nodes that listen on `port`, and with tasks."""
    records = list(tasks)
    await asyncio.to_thread(nats.start, "1s")
    try:
        async with connect(nats.url, "bench") as bus:
            nodes, bucket = await bus.bucket(NODES), await bus.bucket(TASKS)
            for number in range(nodes_count):
                node = node_record(number, port)
                await nodes.put(node.id, node)

            async def put(number: int) -> None:
                await bucket.put(records[number].id, records[number])

            await written(len(records), put)
    finally:
        await asyncio.to_thread(nats.stop)
