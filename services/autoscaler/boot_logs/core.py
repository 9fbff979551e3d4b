"""What is kept of what is said of the boot of a machine. Pure.

A machine that boots by cloud-init sends its last lines again and again, each report with the number of its first line, and nobody has to answer for it to
go on: reports may be lost or overtake each other. A container's log is read whole, from its first line. What a program says that makes a
machine comes line by line, each once. What is kept only ever grows at its end, and is cut at its beginning where it would become too long.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.boot_logs import BootLog, BootLogLines
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.printable import printable_line, without_escapes
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.orders import masked

LINES_COUNT: Final = 1000
LINE_LENGTH: Final = 400
LENGTH: Final = 128 * 1024
"""Characters that are kept of a machine, ends of lines included."""
LONGEST_SAID: Final = 16 * 1024
"""Characters of a line before secrets are looked for in it; more is left out at once."""
MOST_OWN_COUNT: Final = 10 * LINES_COUNT
"""So far a machine's own log is followed that is read from its first line each time."""
TALKS_MS: Final = 15 * 60 * 1000
"""A machine whose node has been there for so long has nothing more to say about its boot."""
BOOTING: Final = frozenset((MachineState.REQUESTED, MachineState.CREATING, MachineState.SETTING_UP))
SILENT_MS: Final = 30_000
"""A machine that is not booting and has said nothing for so long has said all."""


def listened_to(machine: Machine | None, now_ms: WallMs) -> bool:
    """Whether what a machine says of its boot is still of interest."""
    if machine is None or machine.state.ended or machine.state is MachineState.DESTROYING:
        return False
    return machine.online_at_ms is None or now_ms - machine.online_at_ms < TALKS_MS


def grown(kept: BootLog, first_line: int, lines: Sequence[str], secrets: Iterable[Secret], now_ms: WallMs) -> BootLog:
    """Add what a machine says itself; the same log where there is nothing new in it.

    `first_line`: the number of the first of the lines among those of the machine, from 0. Where lines are missing, what is kept begins anew.
    """
    end, own_count = end_of(kept), own_count_of(kept)
    if first_line + len(lines) <= own_count:
        return kept
    known_count, of_others_count = own_count - first_line, end - own_count
    clean = masked("\n".join(lines), secrets).split("\n")
    if known_count < 0 or (not of_others_count and first_line < kept.first_line):
        kept, known_count = BootLog(first_line=first_line + of_others_count), 0
    return lengthened(kept, clean[known_count:], first_line + len(lines), now_ms)


def joined(kept: BootLog, lines: Sequence[str], secrets: Iterable[Secret], now_ms: WallMs) -> BootLog:
    """Add what a program says that makes the machine: each line once, in their order."""
    clean = masked("\n".join(lines), secrets).split("\n")
    return lengthened(kept, clean, own_count_of(kept), now_ms)


def lengthened(kept: BootLog, lines: Sequence[str], own_count: int, now_ms: WallMs) -> BootLog:
    """Put lines behind those that are kept, and leave out as many of the first as are too many."""
    every = (*kept.lines, *(line[:LINE_LENGTH] for line in lines))
    cut = beginning(every)
    return BootLog(first_line=kept.first_line + cut, lines=every[cut:], at_ms=now_ms, own_count=own_count)


def end_of(log: BootLog) -> int:
    """Give the number of the next line."""
    return log.first_line + len(log.lines)


def own_count_of(log: BootLog) -> int:
    """Say how many lines the machine itself has said."""
    return end_of(log) if log.own_count is None else log.own_count


def beginning(lines: Sequence[str]) -> int:
    """Say how many lines have to go so that the others are not too many, nor too long together."""
    length = 0
    for place in range(len(lines) - 1, -1, -1):
        length += len(lines[place]) + 1
        if length > LENGTH or len(lines) - place > LINES_COUNT:
            return place + 1
    return 0


def lines_from(log: BootLog, machine: Machine, from_line: int, now_ms: WallMs) -> BootLogLines:
    """Give the lines from one on, or so many of the last."""
    end = end_of(log)
    wanted = end + from_line if from_line < 0 else from_line
    first = min(max(wanted, log.first_line), end)
    return BootLogLines(
        lines=log.lines[first - log.first_line :],
        from_line=first,
        next_line=end,
        ended=machine.state not in BOOTING and now_ms - log.at_ms > SILENT_MS,
    )


@dataclass
class UnkeptLines:
    """What was said of the boot of one machine and is not kept yet."""

    said: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_COUNT))
    """By a program that makes the machine, each line once."""
    own: tuple[str, ...] = ()
    """The machine's own log, from its first line on."""

    def added_to(self, kept: BootLog, secrets: Sequence[Secret], now_ms: WallMs) -> BootLog:
        """Add it; the same log where there is nothing new."""
        log = joined(kept, printable(self.said), secrets, now_ms) if self.said else kept
        return grown(log, 0, printable(self.own), secrets, now_ms) if self.own else log

    def behind(self, earlier: "UnkeptLines") -> "UnkeptLines":
        """Put it behind what was said before."""
        return UnkeptLines(deque((*earlier.said, *self.said), maxlen=LINES_COUNT), self.own or earlier.own)


class BootLines:
    """What was said of the boots of all machines and is not kept yet, bounded for each."""

    def __init__(self) -> None:
        self._unkept: dict[MachineId, UnkeptLines] = {}

    def __repr__(self) -> str:
        """Show of which machines."""
        return f"BootLines({', '.join(self._unkept)})"

    def of(self, machine: MachineId) -> "MachineBootOutput":
        """Say where what is said of a machine goes."""
        return MachineBootOutput(self, machine)

    def machines(self) -> list[MachineId]:
        """List those of which something was said."""
        return list(self._unkept)

    def unkept(self, machine: MachineId) -> UnkeptLines:
        """Find what was said of a machine, to be added to."""
        return self._unkept.setdefault(machine, UnkeptLines())

    def take(self, machine: MachineId) -> UnkeptLines:
        """Take what was said of a machine: whoever takes it keeps it, or gives it back."""
        return self._unkept.pop(machine, UnkeptLines())

    def give_back(self, machine: MachineId, taken: UnkeptLines) -> None:
        """Take back what could not be kept, before what was said since."""
        self._unkept[machine] = self.take(machine).behind(taken)


@dataclass(frozen=True)
class MachineBootOutput:
    """Where what is said of one machine goes (orders.BootOutput)."""

    lines: BootLines
    machine: MachineId

    def said(self, line: str) -> None:
        """Take a line of a program that makes it."""
        self.lines.unkept(self.machine).said.append(line[:LONGEST_SAID])

    def shows(self, lines: Sequence[str]) -> None:
        """Take its own log."""
        self.lines.unkept(self.machine).own = tuple(lines[:MOST_OWN_COUNT])


def printable(lines: Iterable[str]) -> list[str]:
    """Make lines printable."""
    return [printable_line(without_escapes(line)) for line in lines]
