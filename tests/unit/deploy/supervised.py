"""A supervisor as a program: `python supervised.py FOLDER WATCHDOG_S NAME=BEHAVIOUR...`, with processes that do as they are told.

Each one writes its process id into FOLDER/NAME.pids at every start. A behaviour is the name of a function below.
"""

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
sys.path.insert(0, str(REPOSITORY))

from clusterodm.deploy.children import Recipe, program  # noqa: E402 the path comes first
from clusterodm.deploy.datadir import locked  # noqa: E402
from clusterodm.deploy.output import to_stdout  # noqa: E402
from clusterodm.deploy.restarts import RestartPolicy  # noqa: E402
from clusterodm.deploy.supervisor import Process, Supervisor  # noqa: E402
from clusterodm.libs.common.process.watchdog import ALIVE, READY, notify  # noqa: E402


def lives(folder: Path) -> int:
    """Give signs of life until told to stop."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    notify(READY)
    while not told.wait(0.1):
        notify(ALIVE)
    (folder / "stopped").touch()
    return 0


def hangs(folder: Path) -> int:
    """Give one sign of life, and hear nothing any more."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    notify(READY)
    while True:
        time.sleep(0.05)


def crashes(folder: Path) -> int:
    """Crash in C at the first start, live afterwards."""
    if len((folder / "crashes.pids").read_text().split()) == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    return lives(folder)


def ends_with(code: int, _folder: Path) -> int:
    """End by itself."""
    return code


def shows(folder: Path) -> int:
    """Say what it has got from its supervisor."""
    descriptors = sorted(map(int, os.listdir("/proc/self/fd")))[:-1]  # noqa: PTH208 names are enough
    sys.stdout.write(f"descriptors {descriptors}\n")
    sys.stdout.write(f"environment {sorted(os.environ)}\n")
    sys.stdout.write(f"threads {threading.active_count()} group {os.getpgid(0) == os.getpid()}\n")
    return lives(folder)


BEHAVIOURS = {
    "lives": lives,
    "hangs": hangs,
    "crashes": crashes,
    "shows": shows,
    **{f"exit-{code}": partial(ends_with, code) for code in (0, 1, 2, 78)},
}


def begin(folder: Path, name: str, behaviour: str) -> int:
    """Write down who this is, and behave. A test that reads it may send SIGTERM before it is settled what that does: it waits until then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    with (folder / f"{name}.pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return BEHAVIOURS[behaviour](folder)


def process(folder: Path, watchdog_s: float, name: str, behaviour: str) -> Process:
    """Make one of them; `program` is one that is not ours."""
    script = f"echo $$ >> {folder}/{name}.pids; exec sleep 600"
    main = program(["/bin/sh", "-c", script]) if behaviour == "program" else partial(begin, folder, name, behaviour)
    silence_s = 0.0 if behaviour == "program" else watchdog_s
    return Process(
        recipe=Recipe(f"supervised {name} [{folder}]", main, {"PATH": os.environ["PATH"], "OWN": name}),
        policy=RestartPolicy(grace_s=3.0, silence_s=silence_s),
    )


def main(words: list[str]) -> int:
    """Run them all."""
    folder = Path(words[0])
    pairs = [word.split("=") for word in words[2:]]
    processes = {name: process(folder, float(words[1]), name, behaviour) for name, behaviour in pairs}
    with locked(folder, 1.0) as lock, Supervisor(processes, lock, to_stdout(list(processes))) as supervisor:
        return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
