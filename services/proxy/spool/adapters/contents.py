"""What lies in a spool directory beside its files' content, and whether a directory is a spool at all. Looked at before anything is changed, by `clusterodm up` as well."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Final

from clusterodm.services.proxy.errors import SpoolRefused
from clusterodm.services.proxy.spool.adapters.disk import (
    AHEAD,
    DRAFT,
    FILES,
    INCARNATIONS,
    LEFTOVER_NAME,
    MANIFEST,
    MARK_SUFFIX,
    PARTS,
    ROOM,
    TASK_NAME,
)

INSTANCE: Final = "instance"
LOCK: Final = "lock"
OF_FILE_SYSTEM: Final = "lost+found"
OF_SPOOL: Final = frozenset((LOCK, ROOM, INCARNATIONS, OF_FILE_SYSTEM))
OF_TASK: Final = frozenset((DRAFT, MANIFEST, AHEAD, FILES, PARTS))
SHOWN_COUNT: Final = 3


def require_own(root: Path) -> None:
    """Raise SpoolRefused for a directory that cannot be made, or was never a spool and holds other things, which would be closed to others then, and removed as left over."""
    if link := dangling(root):
        raise SpoolRefused(f"the spool {root} cannot be made: {link} is a symbolic link that leads nowhere")
    if strange := foreign(root):
        shown = ", ".join(strange[:SHOWN_COUNT]) + (", ..." if strange[SHOWN_COUNT:] else "")
        raise SpoolRefused(f"{root} is no spool and is not empty ({shown}): give the proxy a directory of its own")


def foreign(root: Path) -> list[str]:
    """Name what keeps a directory from being a spool, or becoming one; nothing in one that is a spool, or is not there. Raises SpoolRefused.

    A spool that has lost its instance is known by its lock, which is made first, and by what lies in its tasks: any file may be called like a task.
    """
    with reading(root):
        if (root / INSTANCE).exists():
            return []
        entries = list(root.iterdir()) if root.exists() else []
        lock = root / LOCK
        began = lock.is_file() and not lock.stat().st_size
        return sorted(each.name for each in entries if each.name != OF_FILE_SYSTEM and not (began and is_ours(each)))


def dangling(root: Path) -> Path | None:
    """Find the symbolic link, on the way to a directory that is not there, in whose place none can be made. Raises SpoolRefused."""
    with reading(root):
        missing = takewhile(lambda path: not path.exists(), (root, *root.parents))
        return next((path for path in missing if path.is_symlink()), None)


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Say why a spool cannot be read. Raises SpoolRefused."""
    try:
        yield
    except OSError as error:
        raise SpoolRefused(f"the spool {root} cannot be read: {error.strerror}") from None


def is_ours(entry: Path) -> bool:
    """Whether something at the top is a spool's. Raises OSError."""
    if TASK_NAME.fullmatch(entry.name):
        return entry.is_dir() and all(map(is_of_task, names_in(entry)))
    return entry.name in OF_SPOOL or bool(LEFTOVER_NAME.fullmatch(entry.name))


def names_in(folder: Path) -> Iterator[str]:
    """Name what is in a directory."""
    return (each.name for each in folder.iterdir())


def is_of_task(name: str) -> bool:
    """Whether something in a task's directory is the spool's; what begins with a dot is a file that was being written."""
    return name in OF_TASK or name.endswith(MARK_SUFFIX) or name.startswith(".")
