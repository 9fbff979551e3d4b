"""Runs a program that must survive us: its output line by line, its input from memory, its end awaited.

`docker-machine create` that is killed half-way leaves a machine that nobody knows. So a program is started in a session of
its own, writes into a file without a name (a pipe would end it with us), and goes on when the caller is cancelled or
killed. A lock file tells whoever comes next that it still runs: the lock belongs to the open file, which the program
inherits, and the kernel frees it when the last of them has ended.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

POLL_S: Final = 0.1
NOT_FOUND: Final = 127
TOO_LONG: Final = 124


@dataclass(frozen=True)
class ProgramResult:
    """How a program ended."""

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """Its output."""
        return "\n".join(self.lines)

    @property
    def last_words(self) -> str:
        """Its last line that says anything."""
        return next((line for line in reversed(self.lines) if line), f"it ended with code {self.code}")


class ProgramRunner(Protocol):
    """Runs programs."""

    async def __call__(  # noqa: PLR0913 what a program is given
        self,
        words: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        given: str = "",
        heard: Callable[[str], None] = ...,
        keep_open: int | None = None,
        limit_s: float | None = None,
    ) -> ProgramResult:
        """See run_program."""


async def run_program(  # noqa: PLR0913 what a program is given
    words: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    given: str = "",
    heard: Callable[[str], None] = lambda _line: None,
    keep_open: int | None = None,
    limit_s: float | None = None,
) -> ProgramResult:
    """Run a program to its end. `heard` is called with every line; `keep_open` is a descriptor that it inherits.

    Cancelled, it leaves the program running. One that takes longer than `limit_s` is ended with all that it has started.
    """
    with tempfile.TemporaryFile() as output, given_file(given.encode()) as text:
        try:
            process = subprocess.Popen(  # noqa: S603, ASYNC220 our words; asyncio's own would kill it with us
                [*words],
                stdin=text,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                pass_fds=() if keep_open is None else (keep_open,),
            )
        except OSError as error:
            return ProgramResult(NOT_FOUND, (f"{words[0]}: {error.strerror}",))
        if keep_open is not None:
            os.ftruncate(keep_open, 0)
            os.pwrite(keep_open, str(process.pid).encode(), 0)
        try:
            async with asyncio.timeout(limit_s):
                return await follow(process, output, heard)
        except asyncio.CancelledError:
            process.returncode = 0  # Popen must not mention at its end that somebody else goes on
            raise
        except TimeoutError:
            end_session(process.pid)
            process.wait()
            return ProgramResult(TOO_LONG, (f"it was ended after {limit_s:g} s",))


@contextmanager
def given_file(content: bytes) -> Iterator[IO[bytes]]:
    """Give what a program is to read as a file without a name: one that does not read it breaks no pipe of ours."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file


async def follow(process: "subprocess.Popen[bytes]", output: IO[bytes], heard: Callable[[str], None]) -> ProgramResult:
    """Read what it says until it ends."""
    lines: list[str] = []
    rest, place = b"", 0
    while True:
        code = process.poll()
        read = os.pread(output.fileno(), 1024 * 1024, place)
        place += len(read)
        *whole, rest = (rest + read).split(b"\n")
        if code is not None and not read:
            whole += [rest] if rest else []
        for line in whole:
            lines.append(line.decode(errors="replace").rstrip())
            heard(lines[-1])
        if code is not None and not read:
            return ProgramResult(code, tuple(lines))
        if not read:
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def held(path: Path, kill_after_s: float) -> AsyncIterator[int]:
    """Hold a lock file, waiting for whoever holds it; a program that holds it for longer than that is killed.

    The file's time of change says since when it is held, its content by which session.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not taken(descriptor):
            end_overdue(descriptor, kill_after_s)
            await asyncio.sleep(POLL_S)
        os.ftruncate(descriptor, 0)
        os.utime(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def taken(descriptor: int) -> bool:
    """Try to take the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end_overdue(descriptor: int, kill_after_s: float) -> None:
    """Kill the session that has held the lock for too long."""
    age_s = time.time() - os.fstat(descriptor).st_mtime  # noqa: TID251 compared with a file's time
    session = os.pread(descriptor, 32, 0).decode().strip()
    if age_s > kill_after_s and session.isdigit():
        end_session(int(session))


def end_session(session: int) -> None:
    """Kill a program and all that it has started, if it still runs."""
    try:
        os.killpg(session, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
