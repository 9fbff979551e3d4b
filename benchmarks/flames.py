"""Flame graphs of each path, by py-spy: `make profile`, `make profile ONLY=uploads`. They lie in docs/plots/flame-<path>.svg.

Each path's own benchmark is the load, on ours alone; py-spy looks at the process that does the work from outside, a hundred
times a second, native frames of our extension modules included. Needs the right to trace processes (root, or
kernel.yama.ptrace_scope = 0).
"""

import argparse
import asyncio
import contextlib
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.__main__ import PLOTS, say
from benchmarks.cases import Case
from benchmarks.cases.downloads import Downloads8, DownloadsRanges
from benchmarks.cases.requests import Info, TaskInfo, TaskInfoNewConnections, TaskInfos
from benchmarks.cases.scheduling import IdleNodes, Placements
from benchmarks.cases.uploads import SmallFiles, Uploads
from benchmarks.processes import cpu_s, tree
from benchmarks.programs import MissingProgram, output_of
from benchmarks.stages import Crowd, Doors, Stage
from tests.forked import REPOSITORY

RATE_PER_S = 100
TITLE = re.compile(r'(<text id="title"[^>]*>)[^<]*')
PATHS: tuple[type[Case[Any]], ...] = (
    Info,
    TaskInfo,
    TaskInfos,
    TaskInfoNewConnections,
    Downloads8,
    DownloadsRanges,
    Uploads,
    SmallFiles,
    IdleNodes,
    Placements,
)


def pid_of(on: Stage) -> int:
    """Say which process does the work: of several workers the one that has worked most."""
    if isinstance(on, Doors):
        members = tree(on.ours.pid)
    elif isinstance(on, Crowd):
        members = tree(on.running.pid("scheduler"))
    else:
        raise TypeError(f"nothing to look at on {on}")
    return max(members, key=lambda pid: cpu_s([pid]))


async def again_and_again(act: Callable[[], Awaitable[object]]) -> None:
    """Keep a path busy until cancelled."""
    while True:
        await act()


async def flame(case: Case[Any], seconds: int) -> Path:
    """Draw one path. Raises MissingProgram, Broken."""
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        raise MissingProgram("py-spy is not installed (uv sync --group bench)")
    path = PLOTS / f"flame-{case.name}.svg"
    load = (await case.contenders())[0].measure
    await load()
    async with asyncio.TaskGroup() as group:
        busy = group.create_task(again_and_again(load), name="load")
        options = ["--duration", str(seconds), "--rate", str(RATE_PER_S), "--nonblocking", "--threads"]
        try:
            await output_of(str(spy), "record", *options, "--output", str(path), "--pid", str(pid_of(case.on)))
        finally:
            busy.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await busy
    name_drawing(path, case)
    return path


def name_drawing(path: Path, case: Case[Any]) -> None:
    """Head a drawing with what it shows, instead of the command that drew it."""
    title = f"{case.name}: {case.sentence}".replace("<", "&lt;").replace(">", "&gt;")
    text = TITLE.sub(lambda found: found[1] + title, path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


async def main(only: str, seconds: int) -> int:
    """Draw what was asked for; how many failed."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    failed = 0
    for kind in (Doors, Crowd):
        chosen = [case for case in PATHS if case.stage is kind and case.name.startswith(only)]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory(prefix="flames-", ignore_cleanup_errors=True) as root:
            async with kind(Path(root) / "stage") as on:
                for case in chosen:
                    try:
                        say(f"drawn: {(await flame(case(on), seconds)).relative_to(REPOSITORY)}")
                    except MissingProgram as error:
                        say(f"left out: {case.name}: {error}")
                        failed += 1
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="make profile", description="Draw flame graphs of our paths."
    )
    parser.add_argument("only", nargs="?", default="", help="one path by name, or all whose names begin so")
    parser.add_argument("--seconds", type=int, default=8, help="how long to look at each")
    asked = parser.parse_args()
    raise SystemExit(min(asyncio.run(main(asked.only, asked.seconds)), 1))
