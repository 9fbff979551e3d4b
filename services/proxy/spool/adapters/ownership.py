"""Whose a spool directory is: the lock, the instance, and the incarnations of the store that it has known."""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.values import InstanceId
from clusterodm.libs.common.process.files import make_private
from clusterodm.services.proxy.errors import SpoolLocked
from clusterodm.services.proxy.spool.adapters.disk import INCARNATIONS, LEFTOVER_NAME, ROOM, TASK_NAME, write_durably

log = structlog.get_logger()

INSTANCE: Final = "instance"
LOCK: Final = "lock"
OTHERS: Final = frozenset((LOCK, ROOM, INCARNATIONS, "lost+found"))
"""What may lie at the top beside tasks where no instance has been written yet; the last is ext4's own."""
SHOWN_COUNT: Final = 3


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep every other proxy out while the context is open. Raises SpoolLocked."""
    require_own(root)
    mended_count = make_private(root)
    if mended_count:
        log.info("spool.permissions_mended", folder=str(root), count=mended_count)
    with (root / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolLocked(f"another proxy is using the spool {root}: give each its own --data-dir") from None
        yield


def require_own(root: Path) -> None:
    """Raise SpoolLocked for a directory that was never a spool and holds other things, which would be closed to others then."""
    if not root.is_dir() or (root / INSTANCE).exists():
        return
    foreign = sorted(each.name for each in root.iterdir() if not is_ours(each.name))
    if foreign:
        shown = ", ".join(foreign[:SHOWN_COUNT]) + (", ..." if foreign[SHOWN_COUNT:] else "")
        raise SpoolLocked(f"{root} is no spool and is not empty ({shown}): give the proxy a directory of its own")


def is_ours(name: str) -> bool:
    """Whether something at the top is a spool's, or a file system's."""
    return name in OTHERS or any(each.fullmatch(name) for each in (TASK_NAME, LEFTOVER_NAME))


def require_links(root: Path) -> None:
    """Raise SpoolLocked where the file system has no hard links: two files of one name could not both be kept."""
    probe, second = root / f".{uuid.uuid4().hex}", root / f".{uuid.uuid4().hex}"
    try:
        probe.touch()
        os.link(probe, second)
    except OSError as error:
        raise SpoolLocked(f"the spool {root} needs a file system with hard links ({error.strerror})") from None
    finally:
        probe.unlink(missing_ok=True)
        second.unlink(missing_ok=True)


def identity(root: Path) -> tuple[int, int] | None:
    """Say which directory lies there (device and inode); None: there is none."""
    try:
        status = root.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def incarnations(root: Path) -> tuple[Incarnation, ...]:
    """Read which stores of records a spool has known; the last one is the present. None for a new one, or an earlier version's."""
    try:
        return msgspec.json.decode((root / INCARNATIONS).read_bytes(), type=tuple[Incarnation, ...])
    except FileNotFoundError:
        return ()
    except msgspec.DecodeError:
        return ()


def instance_id(root: Path) -> InstanceId:
    """Read whose spool this is; a new one gets an id for ever."""
    path = root / INSTANCE
    if not path.exists():
        write_durably(path, uuid.uuid4().hex.encode())
    return InstanceId(path.read_text().strip())
