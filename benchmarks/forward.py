"""Sends a folder to a node with the proxy's own sender, one file per request; prints CPU and wall seconds as JSON.

python -m benchmarks.forward sender 127.0.0.1 3001 DIR 20
python -m benchmarks.forward curl 127.0.0.1 3001 DIR 20      (a program per file: what libcurl costs at most)
"""

import asyncio
import json
import resource
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeId, NodeTaskId
from clusterodm.services.proxy.forwarding.adapters.sender import open_sender

Send = Callable[[Path], Awaitable[None]]


def used_s() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    mine, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + others.ru_utime + others.ru_stime


async def send_all(send: Send, files: list[Path], at_once: int) -> dict[str, float]:
    """Send all files, so many at once."""
    waiting = iter(files)

    async def worker() -> None:
        for file in waiting:
            await send(file)

    began_s, before_s = time.monotonic(), used_s()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return {
        "bytes": sum(file.stat().st_size for file in files),
        "cpu_s": used_s() - before_s,
        "seconds": time.monotonic() - began_s,
    }


async def by_sender(node: Node, files: list[Path], at_once: int) -> dict[str, float]:
    """Use the proxy's sender."""
    async with open_sender(at_once) as sender:
        attempt = NodeTaskId("11111111-1111-4111-8111-111111111111")
        return await send_all(lambda file: sender.send(node, attempt, file.name, file), files, at_once)


async def by_curl(node: Node, files: list[Path], at_once: int) -> dict[str, float]:
    """Use one curl per file."""
    curl = shutil.which("curl") or "curl"
    url = f"{node.url}/task/new/upload/11111111-1111-4111-8111-111111111111"

    async def send(file: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            *(curl, "-sf", "--noproxy", "*", "-o", "/dev/null", "-H", "Expect:", "-F", f"images=@{file}", url)
        )
        if await process.wait():
            raise RuntimeError(f"curl ended with {process.returncode}")

    return await send_all(send, files, at_once)


if __name__ == "__main__":
    how, host, port, folder, count = sys.argv[1:]
    target = Node(id=NodeId("stub"), hostname=host, port=int(port))
    run = {"sender": by_sender, "curl": by_curl}[how]
    print(json.dumps(uvloop.run(run(target, sorted(Path(folder).iterdir()), int(count)))))
