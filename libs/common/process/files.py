"""Files that nobody but this user may read, whatever the umask: clients' photos, their tokens and webhooks, the cluster's secrets; and files that are read again.

`keep_private` is the first thing that a process does, so that whatever it, or a program that it starts, makes is private. `mend` is for
what an earlier version, or a copy, has left open. It walks a directory only when the directory itself is open to others:
behind one that is not, nothing can be reached. What belongs to another user, or is a symbolic link, stays as it is.

`read_regular` is for files that are read again while a process runs, whatever stands at their path by then: a pipe, a device or a directory holds up nobody.

`sync_folder` is for a file that takes another's place: its content is on the disk then, and its name may not be.

`exposed_files` is for what belongs to whoever starts a program: it is not changed, and said.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.fields import Settings, flag

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""What group and others may."""
UMASK: Final = 0o077
ENTERED: Final = stat.S_IXGRP | stat.S_IXOTH
CONFIG: Final = "config"
EXPOSED: Final = "other users may read it: chmod 600"
FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""A pipe that nobody writes to opens at once, and a terminal does not become ours."""
NOTHING_BEHIND: Final = errno.ENXIO
"""What is said of a socket, and of a device without a driver."""


def keep_private() -> None:
    """Let everything that this process makes from now on be its user's alone."""
    os.umask(UMASK)


def make_private(folder: Path) -> int:
    """Make a directory with its parents, or mend one that is there; how many things were open to others. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return mend(folder)


def sync_folder(folder: Path) -> None:
    """Make the names of files in a directory survive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mend(folder: Path) -> int:
    """Take the rights of group and others off a directory and all in it; off how many. Raises OSError.

    The directory itself comes last: should this be cut short, the next start begins anew.
    """
    if not closable(folder.lstat()):
        return 0
    return sum(map(close, below(folder))) + close(folder)


def below(folder: Path) -> Iterator[Path]:
    """Name everything in a directory, at any depth."""
    for root, folders, files in os.walk(folder):
        yield from (Path(root, name) for name in (*folders, *files))


def close(path: Path) -> int:
    """Take the rights of others off one thing; how many that were, 0 or 1."""
    try:
        status = path.lstat()
        if not closable(status):
            return 0
        path.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS)
    except FileNotFoundError:  # it has gone meanwhile
        return 0
    return 1


def closable(status: os.stat_result) -> bool:
    """Whether something is open to others, is ours, and is no directory that is shared on purpose (as /tmp)."""
    kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
    shared = kind == stat.S_IFDIR and mode & stat.S_ISVTX
    return kind in {stat.S_IFDIR, stat.S_IFREG} and bool(mode & OTHERS) and status.st_uid == os.geteuid() and not shared


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """Read a file, and no more of it than one byte beyond the limit. Raises OSError, and Refused when it is no regular file."""
    with os.fdopen(opened(path), "rb") as file:
        return file.read(limit_bytes + 1)


def opened(path: Path) -> int:
    """Open it, without waiting for anybody. Raises OSError and Refused."""
    try:
        descriptor = os.open(path, FLAGS)
    except OSError as error:
        if error.errno == NOTHING_BEHIND:
            raise not_regular() from None
        raise
    except ValueError:  # a NUL in its name
        raise Refused("no file has such a name") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise not_regular()
    return descriptor


def not_regular() -> Refused:
    """Say what is wrong with it."""
    return Refused("it is no regular file")


def exposed_files(settings: Settings) -> list[tuple[str, str]]:
    """List the files with secrets that settings name and that other users may read: the flag and the path of each."""
    named = {name: str(getattr(settings, name)) for name, setting in settings.settings.items() if setting.private}
    if not holds_secret(settings):
        named.pop(CONFIG, None)
    return [(flag(name), path) for name, path in named.items() if path and open_to_others(path)]


def holds_secret(settings: Settings) -> bool:
    """Whether the file of settings has said something that is secret."""
    said = [getattr(settings, name) for name, source in settings.sources.items() if source == "file"]
    return any(isinstance(each, Secret) for value in said for each in (value if isinstance(value, list) else [value]))


def open_to_others(path: str) -> bool:
    """Whether other users may read, or change, a file. They cannot where a directory above it keeps them out; the group of a file of root's is trusted."""
    try:
        real = Path(path).expanduser().resolve(strict=True)
        status, ways = real.stat(), [folder.stat().st_mode & ENTERED for folder in real.parents]
    except (OSError, RuntimeError, ValueError):  # whoever reads it says what is wrong with it
        return False
    trusted = stat.S_IRGRP if status.st_uid == 0 and os.geteuid() != 0 else 0
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & OTHERS & ~trusted) and all(ways)
