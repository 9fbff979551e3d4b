"""What is kept of what a machine says while it boots. Pure.

A machine sends its last lines again and again, each report with the number of its first line, and nobody has to answer for it to go on: reports may be
lost or overtake each other. What is kept only ever grows at its end, and is cut at its beginning where it would become too long.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.boot_logs import BootLog, BootLogLines
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.orders import masked

LINES_COUNT: Final = 1000
LINE_LENGTH: Final = 400
LENGTH: Final = 128 * 1024
"""Characters that are kept of a machine, ends of lines included."""
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
    """Add what a machine says; the same log where there is nothing new in it."""
    if first_line + len(lines) <= kept.first_line + len(kept.lines):
        return kept
    clean = masked("\n".join(lines), secrets).split("\n")
    before = kept.lines[: first_line - kept.first_line] if joins(kept, first_line) else ()
    every = (*before, *(line[:LINE_LENGTH] for line in clean))
    cut = beginning(every)
    return BootLog(first_line=first_line - len(before) + cut, lines=every[cut:], at_ms=now_ms)


def joins(kept: BootLog, first_line: int) -> bool:
    """Whether no line is missing between what is kept and a report."""
    return kept.first_line <= first_line <= kept.first_line + len(kept.lines)


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
    end = log.first_line + len(log.lines)
    wanted = end + from_line if from_line < 0 else from_line
    first = min(max(wanted, log.first_line), end)
    return BootLogLines(
        lines=log.lines[first - log.first_line :],
        from_line=first,
        next_line=end,
        ended=machine.state not in BOOTING and now_ms - log.at_ms > SILENT_MS,
    )
