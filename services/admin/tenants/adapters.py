"""The file of tokens on disk. A change replaces it as a whole, so that whoever reads it sees the one before or the one after; two changes at once wait for each other."""

import asyncio
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.files import read_regular, sync_folder
from clusterodm.libs.common.tenancy import FILE_LIMIT_BYTES, TokensFile, read_tokens

PRIVATE: Final = 0o600
OTHERS_MAY_CHANGE: Final = 0o022
TOKEN_BYTES: Final = 32
ID_BYTES: Final = 4
LOCK_S: Final = 10.0
LOCK_AGAIN_S: Final = 0.05
Made = TypeVar("Made")


def read_file(path: Path) -> TokensFile:
    """Read it; nothing is in one that is not there yet. Raises Refused."""
    try:
        return read_tokens(read_regular(path, FILE_LIMIT_BYTES))
    except FileNotFoundError:
        return TokensFile()
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    except Refused as error:
        raise Refused(f"{path}: {error.message}") from None


@contextmanager
def changing(path: Path, wait_s: float = LOCK_S) -> Iterator[None]:
    """Let nobody else change it while the context is open. Raises Refused, also where somebody else does for longer than `wait_s`."""
    try:
        make_folder(path.parent)
        lock = opened_lock(path)
    except OSError as error:
        raise Refused(f"cannot change {path}: {error.strerror}") from None
    try:
        wait_for(lock, path, wait_s)
        yield
    finally:
        os.close(lock)


def make_folder(folder: Path) -> None:
    """Make a directory, and those above it, where it is not there: each belongs to whom the one above it does. Raises OSError.

    Whoever owns the one above may lay something else in its place meanwhile: only an empty directory is given away.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    made = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        owner = folder.parent.stat()
        if not os.listdir(made):  # noqa: PTH208 of a descriptor
            with suppress(PermissionError):  # another's: it becomes ours
                os.fchown(made, owner.st_uid, owner.st_gid)
    finally:
        os.close(made)


def opened_lock(path: Path) -> int:
    """Open what is locked while a file is changed; its descriptor. Only what is made here is given to another user: a link may lead to anything. Raises OSError."""
    beside = path.with_name(f".{path.name}.lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        made = os.open(beside, flags | os.O_EXCL, PRIVATE)
    except FileExistsError:
        return os.open(beside, flags, PRIVATE)
    give(made, path)
    return made


def give(descriptor: int, path: Path) -> None:
    """Give what lies beside a file, or in its place, to whom that belongs, or its directory: root makes tokens for a cluster of another user."""
    owner = (path if path.exists() else path.parent).stat()
    with suppress(PermissionError):  # another's: it becomes ours
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def wait_for(lock: int, path: Path, wait_s: float) -> None:
    """Wait until nobody else changes a file: a change takes milliseconds. Raises Refused."""
    for _ in range(max(1, round(wait_s / LOCK_AGAIN_S))):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOCK_AGAIN_S)
    raise Refused(f"another process has been changing {path} for {wait_s:g} s: is it stopped?")


def write_file(path: Path, content: TokensFile) -> None:
    """Replace it, durably. Who may read it stays as it was; a new one is for the owner of its directory alone. Raises Refused."""
    text = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        before = path.stat() if path.exists() else None
        mode = before.st_mode & 0o777 & ~OTHERS_MAY_CHANGE if before else PRIVATE
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            give(file.fileno(), path)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise Refused(f"cannot write {path}: {error.strerror}") from None


def new_secret() -> tuple[str, str]:
    """Make a token and its id."""
    return secrets.token_urlsafe(TOKEN_BYTES), secrets.token_hex(ID_BYTES)


class TokensFileStore:
    """Implements tenants.handlers.TokensStore with the file itself, as the words `token` and `tenant` do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> TokensFile:
        """Read all of it."""
        return await asyncio.to_thread(read_file, self._path)

    async def change(self, change: Callable[[TokensFile, tuple[str, str]], tuple[TokensFile, Made]]) -> Made:
        """Replace it by what is made of it."""
        return await asyncio.to_thread(self._changed, change)

    def _changed(self, change: Callable[[TokensFile, tuple[str, str]], tuple[TokensFile, Made]]) -> Made:
        with changing(self._path):
            content, made = change(read_file(self._path), new_secret())
            write_file(self._path, content)
            return made
