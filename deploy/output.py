"""What the processes of `clusterodm up` print, line by line, each with the name of who has printed it.

With `--log-format json` every line is an object, whoever prints it: its own with a field `process`, or one that is made of its words.

The supervisor may never wait for a terminal that does not scroll: whoever waits supervises nobody. So it writes only what fits
at this moment, keeps the rest up to a limit, and then leaves lines out, and says how many.
"""

import contextlib
import os
import re
import select
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from clusterodm.libs.common.process.lifecycle import now_ms

CHUNK_BYTES: Final = 1 << 16
FITS_BYTES: Final = 4096
"""A pipe that can be written to takes so much without waiting (PIPE_BUF of pipe(7))."""
BACKLOG_BYTES: Final = 4 << 20
LINE_BYTES: Final = 1 << 16
"""A line that is longer is shown in pieces."""
COLOURS: Final = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""Of names on a terminal (ECMA-48): one after the other."""
ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")
"""Colours, which are nothing to who reads JSON."""
PROGRAM: Final = re.compile(r"^clusterodm [a-z-]+: ")
"""What one of ours begins with when it says why it ends."""
SYSTEM: Final = "system"
"""Says what becomes of the processes."""


class Lines:
    """Cuts what comes from a descriptor into lines."""

    def __init__(self, descriptor: int, tell: Callable[[bytes], None]) -> None:
        self._descriptor = descriptor
        self._tell = tell
        self._rest = b""
        self.ended = False
        """Nobody has the other end any more."""
        self.last = b""
        """The last line with anything in it."""

    def read(self) -> bool:
        """Tell what has come; whether there may be more at once."""
        try:
            chunk = os.read(self._descriptor, CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        self.ended = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > LINE_BYTES:
            self.tell_rest()
        return bool(chunk)

    def tell_rest(self) -> None:
        """Tell the last line, which has no end."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""

    def _take(self, line: bytes) -> None:
        self.last = line if line.strip() else self.last
        self._tell(line)


class Printer:
    """Prints to the user's terminal, pipe or file."""

    def __init__(self, names: list[str], descriptor: int, *, colours: bool, as_json: bool = False) -> None:
        self._as_json = as_json
        self._descriptor = descriptor
        self._width = max(map(len, [*names, SYSTEM]))
        self._prefixes = {name: self._prefix(name, place, colours) for place, name in enumerate([SYSTEM, *names])}
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._left_out_count = 0

    def fileno(self) -> int:
        """Name the descriptor to wait for."""
        return self._descriptor

    @property
    def waits(self) -> bool:
        """Whether there is something that did not fit."""
        return bool(self._waiting)

    def line(self, name: str, text: bytes) -> None:
        """Print a line of somebody's."""
        self.plain(as_object(name, text) if self._as_json else self._prefixes[name] + text)

    def greeting(self, text: bytes) -> None:
        """Print a line that is for the user as it is; empty ones say nothing to who reads JSON."""
        if not self._as_json:
            self.plain(text)
        elif text.strip():
            self.plain(as_object("greeting", text))

    def plain(self, text: bytes) -> None:
        """Print a line as it is."""
        if self._waiting_bytes > BACKLOG_BYTES:
            self._left_out_count += 1
            return
        if self._left_out_count and not self._waiting:
            missing = b"%d lines are missing here: nobody took them" % self._left_out_count
            self._keep(as_object(SYSTEM, missing) if self._as_json else self._prefixes[SYSTEM] + missing)
            self._left_out_count = 0
        self._keep(text)
        self.flush()

    def flush(self) -> None:
        """Write what fits at this moment."""
        while self._waiting and takes_more(self._descriptor):
            piece = self._waiting.popleft()
            now, later = piece[:FITS_BYTES], piece[FITS_BYTES:]
            with contextlib.suppress(OSError):  # whoever read it may be gone
                later = now[os.write(self._descriptor, now) :] + later
            self._waiting_bytes -= len(piece) - len(later)
            if later:
                self._waiting.appendleft(later)

    def _keep(self, text: bytes) -> None:
        self._waiting.append(text + b"\n")
        self._waiting_bytes += len(text) + 1

    def _prefix(self, name: str, place: int, colours: bool) -> bytes:
        padded = f"{name:<{self._width}} | "
        return (f"\033[{COLOURS[place % len(COLOURS)]}m{padded}\033[0m" if colours and place else padded).encode()


def takes_more(descriptor: int) -> bool:
    """Whether something can be written without waiting."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(events for _, events in poll.poll(0))


def as_object(name: str, text: bytes) -> bytes:
    """Make one JSON object of a line: its own, with the name of who has printed it, or one that holds its text."""
    if text.startswith(b"{"):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = msgspec.json.decode(text, type=dict[str, Any])
            return msgspec.json.encode({**said, "process": name})
    moment = datetime.fromtimestamp(now_ms() / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    words = ESCAPES.sub("", text.decode(errors="replace")).rstrip()
    return msgspec.json.encode({"process": name, "event": words, "level": "info", "timestamp": moment})


def reason_in(line: bytes) -> str:
    """Take out of the last line of a process what it says, on one line, without the program's name and colours."""
    return PROGRAM.sub("", " ".join(ESCAPES.sub("", line.decode(errors="replace")).split()), count=1)


def to_stdout(names: list[str], *, as_json: bool = False) -> Printer:
    """Print where `up` does."""
    return Printer(names, sys.stdout.fileno(), colours=sys.stdout.isatty(), as_json=as_json)
