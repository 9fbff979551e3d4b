"""Everything that a cluster tells anybody: logs, what lies in NATS, and command lines. For tests that grep it for secrets."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nats
import nats.js.errors

from clusterodm.libs.common.messages.buckets import SECRETS
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.identity.core import node_token, webhook_secret
from clusterodm.services.autoscaler.identity.handlers import KEY, KEYS
from tests.cluster import Cluster

SEALED = {f"KV_{SECRETS.name}", f"KV_{KEYS.name}"}
"""Buckets of which each is one service's own, made to hold a secret; no operator's word reads them."""
NODE_TOKEN = re.compile(r'"token":"[^"]*"')
"""In a node's own record: the scheduler's, and what proxies need to speak to it."""
ON_MACHINES = ("clusterodm.libs.machinesim.docker run", "machine-bin")
"""Command lines on rented machines, as far as they are played on this computer: NodeODM's flags are its only door."""
LOOK_S = 0.05


async def everything_in_nats(cluster: Cluster) -> str:
    """All events, snapshots and values that lie in NATS, but what is sealed."""
    connection = await nats.connect(cluster.nats.url)
    stream = connection.jetstream()
    found: list[str] = []
    try:
        for info in await stream.streams_info():
            if info.config.name in SEALED:
                continue
            for number in range(max(1, info.state.first_seq), info.state.last_seq + 1):
                with suppress(nats.js.errors.NotFoundError):
                    message = await stream.get_msg(info.config.name or "", number)
                    text = (message.data or b"").decode(errors="replace")
                    nodes = info.config.name == "KV_nodes"
                    found.append(f"{message.subject} {NODE_TOKEN.sub('', text) if nodes else text}")
    finally:
        await connection.close()
    return "\n".join(found)


def logs(cluster: Cluster) -> str:
    """All logs, that of nats-server too."""
    files = [*(cluster.folder / "logs").glob("*.log"), *(cluster.folder / "nats").glob("*.log")]
    return "\n".join(file.read_text(errors="replace") for file in files)


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Collect the command lines of all processes that this test starts, and of theirs, while the block is open."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            seen.update(lines_now())

    looking = threading.Thread(target=look, name="command lines")
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def lines_now() -> set[str]:
    """The command lines at this moment."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ProcessLookupError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    lines = set()
    for pid in family - {os.getpid()}:
        with suppress(OSError, ProcessLookupError):
            lines.add(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return {line for line in lines if not any(word in line for word in ON_MACHINES)}


async def secrets_of_machines(cluster: Cluster, names: list[str]) -> list[str]:
    """The secrets that the autoscaler has made for these machines, and the key that it has made them of."""
    entry = await (await cluster.bus.bucket(KEYS)).get(KEY)
    assert entry is not None
    key = Secret(entry.value.key)
    made = [each(key, MachineId(name)).reveal() for name in names for each in (node_token, webhook_secret)]
    return [key.reveal(), *made]
