"""Command lines of the processes of `clusterodm up`, and honcho, which runs them side by side and shows what they say."""

import multiprocessing
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import honcho.manager
from honcho.manager import Manager
from honcho.printer import Printer

KEEPER: Final = Path(__file__).with_name("keep.py")
MARGIN_S: Final = 5.0
"""honcho waits so much longer for a keeper than the keeper for its service."""
STOPPED_BY_SIGNAL: Final = frozenset({130, 143})
"""What honcho returns when it was told to stop: a normal end."""


def module(name: str, *words: str) -> list[str]:
    """Make the command that runs one of our modules, whatever the current directory holds (-P)."""
    return [sys.executable, "-P", "-m", name, *words]


def keeper(name: str, command: Sequence[str], guard: Path, grace_s: float) -> list[str]:
    """Make the command that runs another one under a keeper."""
    return [sys.executable, "-S", str(KEEPER), f"--guard={guard.absolute()}", f"--grace={grace_s:g}", name, *command]


def run_all(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], guard: Path, grace_s: float) -> int:
    """Run each command under a keeper until SIGTERM, SIGINT, or until one of them is over for good; the exit code."""
    multiprocessing.set_start_method("fork", force=True)
    honcho.manager.KILL_WAIT = grace_s + MARGIN_S
    manager = Manager(Printer(sys.stdout, time_format=""))
    for name, command in commands.items():
        kept = shlex.join(keeper(name, command, guard, grace_s))
        manager.add_process(name, f"exec {kept}", env=dict(environment))
    manager.loop()
    return 0 if manager.returncode in STOPPED_BY_SIGNAL else int(manager.returncode or 0)
