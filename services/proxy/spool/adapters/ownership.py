"""Whose a spool directory is: the lock, the instance, and the incarnations of the store that it has known."""

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.values import InstanceId
from clusterodm.libs.common.process.files import make_private
from clusterodm.services.proxy.errors import SpoolRefused
from clusterodm.services.proxy.spool.adapters.contents import INSTANCE, LOCK, require_own
from clusterodm.services.proxy.spool.adapters.disk import INCARNATIONS, write_durably

log = structlog.get_logger()


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep every other proxy out while the context is open. Raises SpoolRefused."""
    require_own(root)
    mended_count = make_private(root)
    if mended_count:
        log.info("spool.permissions_mended", folder=str(root), count=mended_count)
    with (root / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolRefused(f"another proxy is using the spool {root}: give each its own --data-dir") from None
        yield


def require_links(root: Path) -> None:
    """Raise SpoolRefused where the file system has no hard links: two files of one name could not both be kept."""
    probe, second = root / f".{uuid.uuid4().hex}", root / f".{uuid.uuid4().hex}"
    try:
        probe.touch()
        os.link(probe, second)
    except OSError as error:
        raise SpoolRefused(f"the spool {root} needs a file system with hard links ({error.strerror})") from None
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
