"""What is kept of what is said of the boot of a machine. Pure.

A machine that boots by cloud-init sends its last lines again and again, each report with the number of its first line, and nobody has to answer for it to
go on: reports may be lost or overtake each other. A container's log is read whole, from its first line. What a program says that makes a
machine comes line by line, each once. What is kept only ever grows at its end, and is cut at its beginning where it would become too long.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.console import printable_line, without_escapes
from clusterodm.libs.common.messages.boot_logs import BootLog, BootLogLines
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.boot_lines import LINES_COUNT, UnkeptLines
from clusterodm.services.autoscaler.orders import masked

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


def with_unkept(kept: BootLog, unkept: UnkeptLines, secrets: Sequence[Secret], now_ms: WallMs) -> BootLog:
    """Add what was said and is not kept yet; the same log where there is nothing new."""
    log = joined(kept, printable(unkept.said), secrets, now_ms) if unkept.said else kept
    return grown(log, 0, printable(unkept.own), secrets, now_ms) if unkept.own else log


def printable(lines: Iterable[str]) -> list[str]:
    """Make lines printable."""
    return [printable_line(without_escapes(line)) for line in lines]
