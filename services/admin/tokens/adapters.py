"""The file of tokens on disk. A change replaces it as a whole, so that whoever reads it sees the one before or the one after; two changes at once wait for each other."""

import asyncio
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.libs.common.process.regular_files import read_regular
from clusterodm.libs.common.tenancy import FILE_LIMIT_BYTES, IssuedToken, TokensFile, read_tokens
from clusterodm.services.admin.tenants.ports import FreshToken
from clusterodm.services.admin.tokens.core import (
    NewToken,
    created,
    duration_ms,
    found,
    listed_labels,
    new_token,
    revoked,
    rotated,
    size_bytes,
    successor,
    with_tenant,
    without_tenant,
)

PRIVATE: Final = 0o600
OTHERS_MAY_CHANGE: Final = 0o022
TOKEN_BYTES: Final = 32
ID_BYTES: Final = 4
READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "max_task_bytes": size_bytes,
    "storage_bytes": size_bytes,
    "labels": listed_labels,
}
"""Limits that people write in another way than the file: 50GB; labels one after the other."""

Change = Callable[[TokensFile], TokensFile]


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
def changing(path: Path) -> Iterator[None]:
    """Let nobody else change it while the context is open. Raises Refused."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        raise Refused(f"cannot change {path}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def write_file(path: Path, content: TokensFile) -> None:
    """Replace it, durably. Who may read it stays as it was; a new one is its user's alone. Raises Refused."""
    text = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        before = path.stat() if path.exists() else None
        mode = before.st_mode & 0o777 & ~OTHERS_MAY_CHANGE if before else PRIVATE
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            if before is not None:
                with suppress(PermissionError):  # another's file: it becomes ours
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise Refused(f"cannot write {path}: {error.strerror}") from None


def new_secret() -> tuple[str, str]:
    """Make a token and its id."""
    return secrets.token_urlsafe(TOKEN_BYTES), secrets.token_hex(ID_BYTES)


class TokensFileKeeper:
    """Implements tenants.ports.TokenKeeper with the file itself, as the words `token` and `tenant` do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        """Show where it is."""
        return f"TokensFileKeeper({self._path})"

    async def read(self) -> TokensFile:
        """Read all of it."""
        return await asyncio.to_thread(read_file, self._path)

    async def create(
        self, tenant: str, changes: Mapping[str, Any], expires: str, note: str, *, begins: bool = False
    ) -> FreshToken:
        """Make a token."""
        (secret, id_), limits = new_secret(), read_limits(changes)
        new = new_token(secret, id_, tenant, now_ms(), span(expires) if expires else None, note)
        await self._write(lambda file: created(without(file, tenant) if begins else file, new, limits))
        return FreshToken(secret, new.issued)

    async def rotate(self, token: str, overlap: str) -> FreshToken:
        """Make another for the same tenant."""
        (secret, id_), at_ms, overlap_ms = new_secret(), now_ms(), span(overlap)
        made: list[NewToken] = []

        def change(file: TokensFile) -> TokensFile:
            old = exactly(file, token)
            made[:] = [successor(old, secret, id_, at_ms, None)]
            return rotated(file, old.id, made[0], at_ms, overlap_ms)

        await self._write(change)
        return FreshToken(secret, made[0].issued)

    async def revoke(self, token: str) -> None:
        """Let it count no more."""
        await self._write(lambda file: revoked(file, [exactly(file, token).id])[0])

    async def change(self, tenant: str, changes: Mapping[str, Any]) -> None:
        """Change what a tenant may do."""
        limits = read_limits(changes)
        if not limits:
            raise Refused("nothing is to be changed: name a limit")

        def change(file: TokensFile) -> TokensFile:
            if tenant not in {each.name for each in file.tenants}:
                raise NotFound(f"there is no tenant {tenant[:80]!r}")
            return with_tenant(file, tenant, limits)

        await self._write(change)

    async def remove(self, tenant: str) -> None:
        """Take a tenant out with its tokens."""
        await self._write(lambda file: without_tenant(file, tenant))

    async def _write(self, change: Change) -> None:
        await asyncio.to_thread(self._changed, change)

    def _changed(self, change: Change) -> None:
        with changing(self._path):
            write_file(self._path, change(read_file(self._path)))


def without(file: TokensFile, tenant: str) -> TokensFile:
    """Make sure that there is no such tenant yet. Raises Refused."""
    if tenant in {each.name for each in file.tenants}:
        raise Refused(f"there is a tenant {tenant[:80]!r} already")
    return file


def exactly(file: TokensFile, id_: str) -> IssuedToken:
    """Find a token by its whole id: a button means one, whatever was made since. Raises NotFound."""
    token = found(file, id_)
    if token.id != id_:
        raise NotFound(f"there is no token {id_[:80]!r}")
    return token


def span(text: str) -> int:
    """Read a time span, in milliseconds. Raises Refused."""
    try:
        return duration_ms(text)
    except ValueError as error:
        raise Refused(str(error)) from None


def read_limits(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Read limits as they are written on a page. Raises Refused."""
    try:
        return {name: READ[name](value) if name in READ else value for name, value in changes.items()}
    except ValueError as error:
        raise Refused(str(error)) from None
