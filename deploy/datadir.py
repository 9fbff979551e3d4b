"""The data directory of a cluster on one computer: who uses it, and the small files that only its owner may read.

up.lock        locked as long as `clusterodm up` or any of its processes lives; holds the process id of `up`
cluster.json   where the running cluster is, for `clusterodm node list` and the other words; gone when it has stopped
nats/          nats-server: configuration, token, log, store
demo/          simulated nodes
spool/ ...     what the services keep
"""

import contextlib
import fcntl
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from clusterodm.deploy.ancestors import ROOT, user_name, weaknesses
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.files import close, keep_private, mend, sync_folder
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.tenancy import TOKENS_FILE
from clusterodm.services.proxy.spool.adapters.contents import foreign, require_own

LOCK_FILE: Final = "up.lock"
CLUSTER_FILE: Final = "cluster.json"
SPOOL: Final = "spool"
OURS: Final = frozenset((LOCK_FILE, CLUSTER_FILE, TOKENS_FILE, "nats", "demo", "autoscaler", "machines"))
"""What lies in a data directory, beside the spools."""
ORPHANS_S: Final = 10.0
"""How long the processes of a killed `up` may take to stop."""
KILLED_S: Final = 5.0
"""How long they may take when they were killed."""
PROBE: Final = ".writable-"
NAME_ANOTHER: Final = "name another with --data-dir"
WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH


class OpenToOthers(Refused):
    """Another user may put something else in the place of what lies in the data directory."""


def prepare(folder: Path) -> None:
    """Make the directory and see that it can be written. Raises Refused."""
    probe = folder / f"{PROBE}{os.getpid()}"
    keep_private()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_open(folder)
        refuse_way(folder)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Refused(f"data directory {folder}: {error.strerror}; choose another with --data-dir") from None


def was_used(folder: Path) -> bool:
    """Whether a cluster has begun in the directory before."""
    return os.access(folder / LOCK_FILE, os.F_OK)


def refuse_open(folder: Path) -> None:
    """See that nobody else may exchange what lies in a directory that `mended` will not close. Raises OpenToOthers, OSError."""
    status = folder.stat()
    if not status.st_mode & WRITABLE:
        return
    me = os.geteuid()
    found = {path.name: path.lstat().st_uid for path in folder.iterdir()}
    if strange := sorted(name for name, owner in found.items() if is_ours(name) and owner not in {me, 0}):
        raise OpenToOthers(
            f"{folder / strange[0]} belongs to another user, who may read what is kept there: {NAME_ANOTHER}"
        )
    if not status.st_mode & stat.S_ISVTX and status.st_uid == me and not all(map(is_ours, found)):
        raise OpenToOthers(
            f"other users may write into {folder}, which holds more than this cluster's files: chmod 700 it, or {NAME_ANOTHER}"
        )


def refuse_way(folder: Path) -> None:
    """See that not every user may put another directory in its place. Raises OpenToOthers, OSError."""
    for found in weaknesses(folder):
        if found.grave:
            raise OpenToOthers(f"data directory {folder}: {found.reason}: {NAME_ANOTHER}")


def doubts(folder: Path) -> list[str]:
    """Say who else could put another directory in its place, or write into it. Raises OSError."""
    above = [f"{found.reason}, the data directory {folder} too" for found in weaknesses(folder) if not found.grave]
    itself = [f"other users may write into {folder}"] if shared_by_others(folder) else []
    if (owner := folder.stat().st_uid) not in {os.geteuid(), ROOT}:
        itself.append(f"{folder} belongs to the user {user_name(owner)}")
    return [*itself, *above]


def about_tokens(folder: Path, counting: str) -> list[str]:
    """Say whether the file of tokens counts that lies in a data directory, where one does. `counting`: the file that does."""
    file = folder / TOKENS_FILE
    if not file.exists():
        return []
    if counting and Path(counting).absolute() == file.absolute():
        return [f"clients must send a token of {file}"]
    return [f"warning: {file} does not count: other settings say which tokens do"]


def shared_by_others(folder: Path) -> bool:
    """Whether others may write into the directory nevertheless: one as /tmp, or of another user."""
    return bool(folder.stat().st_mode & WRITABLE)


def is_ours(name: str) -> bool:
    """Whether something in a data directory was put there by a cluster."""
    return name in OURS or may_be_spool(name) or name.startswith((PROBE, f".{CLUSTER_FILE}"))


def may_be_spool(name: str) -> bool:
    """Whether a spool in a data directory is called like that; so may a user's own directory be."""
    return name.partition("-")[0] == SPOOL


def require_spools(folder: Path, spools: Iterable[Path]) -> None:
    """See that each spool is one, or may become one, and that we may write into it, or make it. Raises Refused."""
    for spool in spools:
        try:
            path = spool.absolute()
        except OSError as error:  # the directory that it is started in is gone
            raise Refused(f"the spool {spool}: {error.strerror}") from None
        require_own(path)
        require_apart(folder, path)
        if not path.exists() and path.is_relative_to(folder.absolute()):
            continue  # `prepare` says whether the data directory may be written
        there = next(each for each in (path, *path.parents) if each.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise Refused(f"the spool {path} cannot be written: no rights to write into {there}")


def require_apart(folder: Path, spool: Path) -> None:
    """See that a spool neither holds the data directory nor lies where something else of it is kept. Raises Refused."""
    data, there = (Path(os.path.realpath(each)) for each in (folder, spool))  # links that go round are no error here
    own = "give the proxy a directory of its own"
    if data.is_relative_to(there):
        raise Refused(f"the spool {spool} would hold the data directory {data}: {own}")
    for each in sorted(OURS):
        if there.is_relative_to(data / each):
            raise Refused(f"the spool {spool} would lie in {data / each}, where other things are kept: {own}")


def mended(folder: Path) -> int:
    """Close what an earlier version left open to other users; how many things. Of what is not ours in there nothing changes. Raises Refused."""
    names = {path.name for path in folder.iterdir()}
    ours = {name for name in names if is_ours(name) and not (may_be_spool(name) and foreign(folder / name))}
    counts = [mend(folder / name) if (folder / name).is_dir() else close(folder / name) for name in ours]
    return sum(counts) + (close(folder) if names == ours else 0)


@contextmanager
def locked(folder: Path, timeout_s: float = ORPHANS_S) -> Iterator[int]:
    """Hold the directory for this process and its children; yield the lock's descriptor. Raises Refused when another cluster uses it.

    A lock of flock(2): it belongs to the open file, which every child inherits, and ends with the last of them. `timeout_s`: how long
    the processes of an `up` that was killed may take to end by themselves; what is left of it then is killed.
    """
    path = folder / LOCK_FILE
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        acquire(descriptor, folder, timeout_s)
        with writing(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def acquire(descriptor: int, folder: Path, timeout_s: float) -> None:
    """Lock; wait for the remains of an `up` that was killed, and end what hangs. Raises Refused."""
    began_s = monotonic_s()
    while not lock(descriptor):
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        holders = processes_with(descriptor)
        waited_s = monotonic_s() - began_s
        if waited_s > timeout_s + KILLED_S or holders is None or holder in map(str, holders):
            raise Refused(
                f"another clusterodm up (process {holder or '?'}) uses {folder}: stop it, or choose another --data-dir"
            )
        if waited_s > timeout_s:
            for process in holders:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def lock(descriptor: int) -> bool:
    """Try to lock; whether that worked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def processes_with(descriptor: int) -> list[int] | None:
    """Find the other processes that have a file open; None where that cannot be seen."""
    if sys.platform != "linux":
        return None
    wanted = os.fstat(descriptor)
    others = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [process for process in others if process != os.getpid() and has_open(process, wanted)]


def has_open(process: int, wanted: os.stat_result) -> bool:
    """Whether a process has a file open. One of another user, or that is just ending, has not."""
    try:
        return any(os.path.samestat(entry.stat(), wanted) for entry in os.scandir(f"/proc/{process}/fd"))
    except OSError:
        return False


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read; it appears complete, or what was there stays, after a power cut too. Raises Refused."""
    partial = path.with_name(f".{path.name}.new")
    with writing(path):
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 a descriptor, for its mode
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file cannot be written, and why. Raises Refused."""
    try:
        yield
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from None


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
