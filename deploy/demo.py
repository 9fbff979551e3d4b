"""The simulated nodes of `clusterodm up --demo`. Their ports stay the same over restarts where they can."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec

from clusterodm.deploy.checks import free_port
from clusterodm.deploy.datadir import write_private, writing
from clusterodm.deploy.plan import NodeAddress
from clusterodm.libs.common.hosts import LARGEST_PORT, LOOPBACK

IMAGE_TIME_S: Final = 0.05
Port = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PORT)]


def ports(folder: Path, count: int, choose: Callable[[int], int] = free_port) -> tuple[list[int], list[int]]:
    """Choose the ports of the nodes; also name those of earlier runs that no node has any more."""
    path = folder / "ports.json"
    before = remembered(path)
    chosen: list[int] = []
    for place in range(count):
        port = choose(before[place] if place < len(before) else 0)
        chosen.append(port if port not in chosen else choose(0))
    with writing(folder):
        folder.mkdir(exist_ok=True)
    write_private(path, json.dumps(chosen))
    return chosen, [port for port in before if port not in chosen]


def remembered(path: Path) -> list[int]:
    """Read the ports of the last time; none where there are none, or nobody can read them."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Port])
    except (OSError, msgspec.DecodeError):
        return []


def flags(folder: Path, chosen: Sequence[int], task_time_s: float) -> dict[str, list[str]]:
    """Make what each node is told, by its name."""
    return {
        f"node-{number}": [
            f"--host={LOOPBACK}",
            f"--port={port}",
            f"--name=node-{number}",
            f"--data-dir={folder.absolute() / f'node-{number}'}",
            f"--task-time-s={task_time_s:g}",
            f"--image-time-s={IMAGE_TIME_S}",
        ]
        for number, port in enumerate(chosen, start=1)
    }


def addresses(chosen: Sequence[int]) -> list[NodeAddress]:
    """Name the nodes as the scheduler knows them."""
    return [NodeAddress(LOOPBACK, port) for port in chosen]
