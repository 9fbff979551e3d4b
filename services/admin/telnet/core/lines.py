"""Bytes of a telnet or plain TCP client become lines (sans I/O).

Rule 1: every byte may arrive alone or with any number of others; what comes out is the same.
Rule 2: a client that never negotiates is never bothered: we offer nothing and ask nothing, and answer only what is asked.

    RFC 854   commands are IAC + byte; IAC IAC is the byte 255; a line ends with CR LF, CR NUL is a bare CR
    RFC 855   IAC DO x is answered WONT x, IAC WILL x with DONT x: every option stays off, so the client stays in line
              mode and echoes by itself. DONT and WONT need no answer, and answering them could go on for ever
    RFC 860   IAC DO TIMING-MARK after an interrupt is answered too, or the client would throw away all that follows

Plain clients end lines with LF, some with CR alone; all are ends of lines here. Backspace and DEL take back a character, as IAC EC does;
Ctrl-C and Ctrl-U take back the line, as IAC IP and IAC EL do; other control characters are dropped. A line longer than `LONGEST_LINE_BYTES` is not
cut, which could make another command of it, but dropped whole and reported once. So is one with an escape sequence, as a key with an arrow sends it:
whoever has gone back in a line and changed something there meant another one than its bytes are in their order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

LONGEST_LINE_BYTES: Final = 4096
PLAIN: Final = re.compile(rb"[\x20-\x7e\x80-\xfe]+")
"""What is of a line and nothing else."""


class Byte(IntEnum):
    """Bytes that mean something."""

    NUL = 0
    INTERRUPT = 3
    """Ctrl-C."""
    BACKSPACE = 8
    TAB = 9
    LF = 10
    CR = 13
    KILL = 21
    """Ctrl-U."""
    ESCAPE = 27
    SPACE = 32
    DELETE = 127
    SE = 240
    INTERRUPT_PROCESS = 244
    ARE_YOU_THERE = 246
    ERASE_CHARACTER = 247
    ERASE_LINE = 248
    SB = 250
    WILL = 251
    WONT = 252
    DO = 253
    DONT = 254
    IAC = 255


ANSWERS: Final = {Byte.DO: Byte.WONT, Byte.WILL: Byte.DONT}
"""Every option is refused."""
ERASING: Final = frozenset({Byte.ERASE_LINE, Byte.INTERRUPT_PROCESS})
IAC: Final = bytes([Byte.IAC])
TWO_MORE: Final = frozenset({Byte.DO, Byte.DONT, Byte.WILL, Byte.WONT})


class Mode(IntEnum):
    """What the next byte is."""

    TEXT = 0
    COMMAND = 1
    """Behind an IAC."""
    OPTION = 2
    """Behind DO, DONT, WILL or WONT."""
    BLOCK = 3
    """Inside a subnegotiation: skipped."""
    BLOCK_COMMAND = 4
    """Behind an IAC inside a subnegotiation."""


@dataclass(frozen=True)
class Line:
    """A line that the client has finished."""

    text: str


@dataclass(frozen=True)
class DroppedLine:
    """A line that is none: it was too long, or an escape sequence is in it."""


@dataclass(frozen=True)
class Negotiation:
    """Bytes that the protocol wants to be sent back."""

    data: bytes


Input = Line | DroppedLine | Negotiation


@dataclass
class LineReader:
    """What has arrived of one connection and is not yet a line."""

    buffer: bytearray = field(default_factory=bytearray)
    mode: Mode = Mode.TEXT
    verb: int = 0
    after_cr: bool = False
    dropping: bool = False

    def feed(self, data: bytes) -> Iterator[Input]:
        """Take bytes in; yield what they complete, in order."""
        at = 0
        while at < len(data):
            if self.mode is Mode.TEXT and (run := PLAIN.match(data, at)):
                self.extend(run.group())
                at = run.end()
                continue
            found = self.take(data[at])
            at += 1
            if found is not None:
                yield found

    def finish(self) -> Line | None:
        """Take the end of the stream: a last line may have come without its end."""
        return self.end_line() if self.buffer and not self.dropping else None  # type: ignore[return-value]

    def take(self, byte: int) -> Input | None:
        """Take one byte in."""
        if self.mode is Mode.TEXT:
            return self.text(byte)
        if self.mode is Mode.COMMAND:
            return self.command(byte)
        if self.mode is Mode.OPTION:
            self.mode = Mode.TEXT
            answer = ANSWERS.get(Byte(self.verb))
            return None if answer is None else Negotiation(bytes((Byte.IAC, answer, byte)))
        self.skip(byte)
        return None

    def text(self, byte: int) -> Input | None:
        """Take a byte outside of any command."""
        ends_pair, self.after_cr = self.after_cr and byte in {Byte.LF, Byte.NUL}, byte == Byte.CR
        if ends_pair:
            return None
        if byte == Byte.IAC:
            self.mode = Mode.COMMAND
            return None
        if byte in {Byte.CR, Byte.LF}:
            return self.end_line()
        self.add(byte)
        return None

    def extend(self, run: bytes) -> None:
        """Put bytes into the line that mean nothing but themselves: most of all, and a hundred times quicker together."""
        self.after_cr = False
        self.buffer += run
        if len(self.buffer) > LONGEST_LINE_BYTES:
            self.drop()

    def drop(self) -> None:
        """Let the line be none, whatever of it still comes."""
        self.buffer.clear()
        self.dropping = True

    def add(self, byte: int) -> None:
        """Put a byte into the line, or take one back."""
        if byte in {Byte.BACKSPACE, Byte.DELETE}:
            self.erase_character()
        elif byte in {Byte.INTERRUPT, Byte.KILL}:
            self.erase_line()
        elif byte == Byte.TAB:
            self.extend(b" ")
        elif byte == Byte.ESCAPE:
            self.drop()

    def end_line(self) -> Line | DroppedLine:
        """Finish the line."""
        text, dropped = self.buffer.decode("utf-8", "replace"), self.dropping
        self.erase_line()
        return DroppedLine() if dropped else Line(text)

    def erase_line(self) -> None:
        """Take back the whole line."""
        self.buffer.clear()
        self.dropping = False

    def erase_character(self) -> None:
        """Take back a character, all bytes of its UTF-8."""
        while self.buffer and self.buffer.pop() & 0xC0 == 0x80:  # noqa: PLR2004 a continuation byte of UTF-8
            pass

    def command(self, byte: int) -> Input | None:
        """Take the byte behind an IAC."""
        self.mode = Mode.OPTION if byte in TWO_MORE else Mode.BLOCK if byte == Byte.SB else Mode.TEXT
        self.verb = byte
        if byte == Byte.IAC:
            self.extend(IAC)
        elif byte == Byte.ERASE_CHARACTER:
            self.erase_character()
        elif byte in ERASING:
            self.erase_line()
        elif byte == Byte.ARE_YOU_THERE:
            return Negotiation(b"[yes]\r\n")
        return None

    def skip(self, byte: int) -> None:
        """Go through a subnegotiation, which says nothing that we need."""
        if self.mode is Mode.BLOCK:
            self.mode = Mode.BLOCK_COMMAND if byte == Byte.IAC else Mode.BLOCK
        else:
            self.mode = Mode.TEXT if byte == Byte.SE else Mode.BLOCK
