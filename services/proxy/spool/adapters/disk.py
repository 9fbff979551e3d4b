"""The spool's files on disk: plain synchronous operations, run in threads by `spool` and `receipt`.

    <root>/instance                whose spool this is, written once
    <root>/incarnations.json       the stores of records that its tasks were submitted to, the present one last
    <root>/lock                    held (flock) by the one proxy that uses it
    <root>/room                    what small notes may take of a disk that is full (notes.py)
    <root>/<task id>/draft.json    what init fixed
    <root>/<task id>/parts/<random>  a file that is arriving
    <root>/<task id>/files/<name>    a complete file; never changed again
    <root>/<task id>/manifest.json   committed
    <root>/<task id>/<mark>.mark     ports.Mark; that of `submitted` holds what was done with the task since, a line for each note (notes.py)
    <root>/<task id>/ahead.json      where files went before the commit
    <root>/.<random>               a task directory being made or removed; left over by a crash, it goes at the next start

How a file gets its name is in naming.py.
"""

import contextlib
import ctypes
import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog

from clusterodm.services.proxy.errors import SpoolFull
from clusterodm.services.proxy.spool.core.upload import Mark, StoredFile

log = structlog.get_logger()

DRAFT: Final = "draft.json"
MANIFEST: Final = "manifest.json"
INCARNATIONS: Final = "incarnations.json"
AHEAD: Final = "ahead.json"
ROOM: Final = "room"
MARK_SUFFIX: Final = ".mark"
HISTORY: Final = f"{Mark.SUBMITTED}{MARK_SUFFIX}"
FILES: Final = "files"
PARTS: Final = "parts"
TASK_NAME: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
LEFTOVER_NAME: Final = re.compile(r"\.([0-9a-f]{32}|(instance|incarnations\.json)-[0-9a-f]+)")
"""What a crash leaves at the top. Nothing else is touched there: a disk may be mounted where the spool lies (`lost+found`)."""
NO_ROOM: Final = "There is no room for uploads on this server at present. Please try again later."
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
SYNC_FILE_RANGE_WRITE: Final = 2
"""From fcntl.h."""
SYNC_FILE_RANGE: Final[Any] = getattr(ctypes.CDLL(None), "sync_file_range", None)

NOTES = count()
"""Of small files under way: one proxy uses a spool, and what a crash has left of them goes at its start, or is written over."""

Write = Callable[[int, bytes | bytearray | memoryview], int]
"""`os.write`, or something with its promises."""


@contextlib.contextmanager
def full_disk_refuses() -> Iterator[None]:
    """Raise SpoolFull for a disk or a quota that is full."""
    try:
        yield
    except OSError as error:
        raise refusal_of(error) from None


def refusal_of(error: OSError) -> Exception:
    """Say what an error of the disk is for a client: SpoolFull when the disk or a quota is full, else itself."""
    return SpoolFull(NO_ROOM) if error.errno in FULL else error


def create(path: str) -> int:
    """Make a file of our own; its descriptor. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def write_all(write: Write, opened: int, content: bytes | bytearray | memoryview) -> None:
    """Append to a file. Raises OSError."""
    written = write(opened, content)
    while written < len(content):
        written += write(opened, memoryview(content)[written:])


def flush(path: Path | str) -> None:
    """Wait until a file's content, or a directory's list of names, is on the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_back(opened: int) -> None:
    """Begin to write a file to the disk, where the system can do that without waiting (Linux): `fsync` then waits for less."""
    if SYNC_FILE_RANGE is not None:
        SYNC_FILE_RANGE(opened, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(SYNC_FILE_RANGE_WRITE))


class PartFile:
    """A file of an upload request, while it is open; in a thread."""

    __slots__ = ("_file", "path")

    _file: int | None
    path: str

    def write_back(self) -> None:
        """Begin to write it to the disk."""
        if self._file is not None:
            write_back(self._file)

    def sync(self) -> None:
        """Wait until it is on the disk."""
        if self._file is not None:
            os.fsync(self._file)

    def release(self) -> None:
        """Have it open no longer."""
        if self._file is not None:
            opened, self._file = self._file, None
            os.close(opened)

    def discard(self) -> None:
        """Remove it, wherever it is in its life."""
        self.release()
        Path(self.path).unlink(missing_ok=True)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a small file in one step that a crash cannot halve."""
    folder = str(path.parent)
    fresh = f"{folder}/.{path.name}-{next(NOTES):x}"
    try:
        with full_disk_refuses():
            write_through(fresh, content)
            os.replace(fresh, path)  # noqa: PTH105 a Path costs more than this does
            flush(folder)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise


def write_through(path: str, content: bytes) -> None:
    """Write a small file, and wait until its content is on the disk. Raises OSError."""
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(os.write, opened, content)
        os.fsync(opened)
    finally:
        os.close(opened)


def append(path: Path, content: bytes, *, durably: bool) -> None:
    """Write on in a small file that is there; `durably`: wait until it is on the disk. Raises SpoolFull, OSError."""
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        with full_disk_refuses():
            write_all(os.write, opened, content)
            if durably:
                os.fdatasync(opened)
    finally:
        os.close(opened)


def forget(path: Path) -> None:
    """Remove a small file, safe from a power cut."""
    path.unlink(missing_ok=True)
    flush(path.parent)


def make_entry(root: Path, task: str, draft: bytes) -> None:
    """Make the directory of a task, complete or not at all. Raises FileExistsError."""
    fresh = root / f".{uuid.uuid4().hex}"
    try:
        with full_disk_refuses():
            for folder in (fresh, fresh / FILES, fresh / PARTS):
                folder.mkdir()
            write_through(f"{fresh}/{DRAFT}", draft)  # nobody sees it before the directory has its name
            flush(fresh)
            rename_new(fresh, root / task)
            flush(root)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def rename_new(source: Path, target: Path) -> None:
    """Rename a directory. Raises FileExistsError."""
    if target.exists():
        raise FileExistsError(target.name)
    source.rename(target)


def set_aside(root: Path, task: str) -> Path:
    """Take a task out of the spool in one step; what is returned is still to be removed."""
    aside = root / f".{uuid.uuid4().hex}"
    with contextlib.suppress(FileNotFoundError):
        (root / task).rename(aside)
    return aside


def remove(folder: Path) -> None:
    """Remove a directory with everything in it, as far as possible."""
    shutil.rmtree(folder, ignore_errors=True)


def empty(folder: Path) -> None:
    """Remove the files in a directory."""
    for path in folder.iterdir():
        path.unlink(missing_ok=True)


def remove_leftovers(root: Path) -> None:
    """Remove what a crash has left: half-made and half-removed tasks, unfinished files."""
    for entry in root.iterdir():
        if LEFTOVER_NAME.fullmatch(entry.name):
            remove(entry) if entry.is_dir() else entry.unlink()
    for folder in task_folders(root):
        for leftover in (*(folder / PARTS).glob("*"), *folder.glob(".*")):
            leftover.unlink(missing_ok=True)


def task_folders(root: Path) -> Iterator[Path]:
    """Name the directories of tasks."""
    return (entry for entry in root.iterdir() if TASK_NAME.fullmatch(entry.name) and entry.is_dir())


def list_files(folder: Path) -> tuple[StoredFile, ...]:
    """List the complete files in the order of their names."""
    with os.scandir(folder) as entries:
        return tuple(sorted((StoredFile(name=e.name, size_bytes=e.stat().st_size) for e in entries), key=by_name))


def by_name(file: StoredFile) -> str:
    """Order files."""
    return file.name


def active_at_ms(entry: Path) -> int:
    """Say when something last arrived in a task's directory."""
    return max(int(path.stat().st_mtime * 1000) for path in (entry, entry / FILES, entry / DRAFT))
