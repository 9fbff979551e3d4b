"""What is said of the boots of machines by those who make them, until it is kept (boot_logs). Pure, bounded for each machine.

A creation writes here (orders.BootOutput) and waits for nobody; whoever keeps it takes it away every few seconds.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from clusterodm.libs.common.model.values import MachineId

LINES_COUNT: Final = 1000
LONGEST_SAID: Final = 16 * 1024
"""Characters of a line before secrets are looked for in it; more is left out at once."""
MOST_OWN_COUNT: Final = 10_000
"""So far a machine's own log is followed that is read from its first line each time."""


@dataclass
class UnkeptLines:
    """What was said of the boot of one machine and is not kept yet."""

    said: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_COUNT))
    """By a program that makes the machine, each line once."""
    own: tuple[str, ...] = ()
    """The machine's own log, from its first line on."""

    def behind(self, before: "UnkeptLines") -> "UnkeptLines":
        """Put it behind what was said before."""
        return UnkeptLines(deque((*before.said, *self.said), maxlen=LINES_COUNT), self.own or before.own)


class BootLines:
    """What was said of the boots of all machines and is not kept yet, bounded for each."""

    def __init__(self) -> None:
        self._unkept: dict[MachineId, UnkeptLines] = {}

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
