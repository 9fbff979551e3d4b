"""The directory in which the stand-in keeps everything, so that each of its processes sees the same.

store/NAME.json   what docker-machine knows: its own list, as ~/.docker/machine/machines
cloud/NAME.json   what the provider has: what really exists, and costs
knobs.json        what tests have ordered: failures, delays, settings of the nodes
calls.jsonl       every call: its words, and the names of its variables
addresses         how many addresses were given out
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "MACHINESIM_DIR"
HELP: Final = frozenset(["--help", "-h", "help"])
MOST_ADDRESSES: Final = 250


class Missing(Exception):
    """A program cannot work like this; the message is the one line that it says before it ends with code 2."""


class Place:
    """The directory."""

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.environment = os.environ if environment is None else environment
        """Variables of whoever calls the program."""
        self.store = root / "store"
        self.cloud = root / "cloud"
        for folder in (self.store, self.cloud):
            folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def of_environment(cls) -> "Place":
        """Find it by the variable. Raises Missing."""
        return cls(Path(variable(VARIABLE, "the directory in which the simulated docker-machine keeps everything")))

    def note(self, **call: Any) -> None:
        """Write down a call."""
        with (self.root / "calls.jsonl").open("a") as file:
            file.write(json.dumps(call) + "\n")

    def calls(self) -> list[dict[str, Any]]:
        """Give all calls, the oldest first."""
        path = self.root / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def address(self) -> str:
        """Give out the next address; every machine has one of its own on this computer."""
        with self._locked():
            path = self.root / "addresses"
            count = int(path.read_text()) if path.exists() else 0
            path.write_text(str(count + 1))
        first, last = divmod(count % (MOST_ADDRESSES * MOST_ADDRESSES), MOST_ADDRESSES)
        network = int(os.environ.get("MACHINESIM_NETWORK", "1"))
        return f"127.{network}.{first}.{last + 2}"

    def knobs(self) -> dict[str, Any]:
        """Give what tests have ordered."""
        path = self.root / "knobs.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def order(self, **knobs: Any) -> None:
        """Order something; it stays until it is ordered otherwise."""
        with self._locked():
            self._write_knobs(self.knobs() | knobs)

    def take_failure(self, step: str) -> str | None:
        """Take the next failure that was ordered for a step; None: it shall work."""
        with self._locked():
            knobs = self.knobs()
            failures = knobs.get("failures", {})
            if not failures.get(step):
                return None
            message = str(failures[step].pop(0))
            self._write_knobs(knobs)
            return message

    def add_failure(self, step: str, message: str) -> None:
        """Let a step fail the next time."""
        with self._locked():
            knobs = self.knobs()
            knobs.setdefault("failures", {}).setdefault(step, []).append(message)
            self._write_knobs(knobs)

    def _write_knobs(self, knobs: dict[str, Any]) -> None:
        write_json(self.root / "knobs.json", knobs)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def variable(name: str, what: str) -> str:
    """Read a variable of the environment. Raises Missing."""
    if value := os.environ.get(name):
        return value
    raise Missing(f"{name} is not set: {what}")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a file; None when there is none."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file at once."""
    partial = path.with_suffix(f".{os.getpid()}.new")
    partial.write_text(json.dumps(content, indent=1))
    partial.rename(path)
