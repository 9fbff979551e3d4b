"""Runs the demo cluster and takes up what is saved: `make dev`.

A change in services/<name> kills the processes of that service; `clusterodm up` starts them again, with the new code, as it does whenever one
dies. What the services share (libs, deploy) lies in the memory from which they are forked, so a change there starts everything anew.
Killed and not stopped: a service bears that at any moment, and here it is tried all day. Code that cannot run is started
again and again, with its traceback, until it can.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from watchfiles import watch

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("services", "libs", "deploy")
PROGRAM: Final = "clusterodm"
ALL: Final = ""
"""What is shared by all: stands for every service."""


def main(flags: Sequence[str]) -> int:
    """Run until Ctrl-C or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    cluster = start(flags)
    try:
        for changes in watch(*(ROOT / folder for folder in FOLDERS)):
            touched = services_of(path for _, path in changes)
            if ALL in touched or cluster.poll() is not None:
                say("starting everything anew")
                stop(cluster)
                cluster = start(flags)
            for pid in processes(listing(), cluster.pid, touched):
                say(f"killing {pid}: its code has changed")
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    except KeyboardInterrupt:
        pass
    finally:
        stop(cluster)
    return 0


def start(flags: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the cluster."""
    return subprocess.Popen([Path(sys.executable).with_name(PROGRAM), "up", "--demo", *flags], cwd=ROOT)


def stop(cluster: subprocess.Popen[bytes]) -> None:
    """Stop the cluster, and wait for it."""
    if cluster.poll() is None:
        cluster.terminate()
        cluster.wait()


def services_of(paths: Iterable[str]) -> set[str]:
    """Say whose code some files are; `ALL` among them: everybody's."""
    parts = (Path(path).relative_to(ROOT).parts for path in paths)
    return {part[1] if part[0] == "services" and len(part) > 2 else ALL for part in parts}


def listing() -> str:
    """List all processes: id, parent, title."""
    return subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout


def processes(lines: str, parent: int, services: set[str]) -> Iterator[int]:
    """Find the processes of some services (`clusterodm proxy-2 [/path/of/data]`) among the children of a cluster."""
    for line in lines.splitlines():
        pid, ppid, *title = line.split()
        if int(ppid) == parent and title[:1] == [PROGRAM] and title[1].partition("-")[0] in services:
            yield int(pid)


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(f"dev        | {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
