"""The data directory of a cluster on one computer: who uses it, and the small files that only its owner may read.

up.lock        locked as long as `clusterodm up` lives; the keepers watch it (deploy/keep.py)
cluster.json   where the running cluster is, for `clusterodm node list` and the other words; gone when it has stopped
nats/          nats-server: configuration, token, log, store
demo/          simulated nodes
spool/ ...     what the services keep
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from libs.common.errors import Refused
from libs.common.lifecycle import monotonic_s

LOCK_FILE: Final = "up.lock"
CLUSTER_FILE: Final = "cluster.json"
ORPHANS_S: Final = 10.0
"""How long the processes of a killed `up` may take to stop."""


def prepare(folder: Path) -> None:
    """Make the directory and see that it can be written. Raises Refused."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Refused(f"data directory {folder}: {error.strerror}; choose another with --data-dir") from None


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Hold the directory for this process alone. Raises Refused when another cluster uses it.

    A POSIX lock: it ends with this process however that ends, and no child inherits it. It would also end when this
    process closed any other descriptor of the file, so nothing else here may open it.
    """
    path = folder / LOCK_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        acquire(descriptor, folder)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield path
    finally:
        os.close(descriptor)


def acquire(descriptor: int, folder: Path) -> None:
    """Lock; wait a little for the remains of an `up` that was killed. Raises Refused."""
    deadline_s = monotonic_s() + ORPHANS_S
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            if alive(holder) or monotonic_s() > deadline_s:
                raise Refused(
                    f"another clusterodm up (process {holder or '?'}) uses {folder}: stop it, or choose another --data-dir"
                ) from None
            time.sleep(0.1)
        else:
            return


def alive(process: str) -> bool:
    """Whether a process with this id exists."""
    return process.isdigit() and Path(f"/proc/{process}").exists() if Path("/proc/self").exists() else True


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read; it appears complete."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 a descriptor, for its mode
        file.write(text)
    partial.replace(path)


@contextmanager
def announced(folder: Path, facts: Mapping[str, Any]) -> Iterator[None]:
    """Let the operator's words find the running cluster while the context is open."""
    path = folder / CLUSTER_FILE
    write_private(path, json.dumps(facts, indent=2) + "\n")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
