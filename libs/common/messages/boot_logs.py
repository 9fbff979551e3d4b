"""What is said of the boot of rented machines, by themselves or by whoever makes them: kept by the autoscaler, read by operators."""

from typing import Final

from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.model.values import Frozen, MachineId


class BootLog(Frozen, frozen=True, kw_only=True):
    """What was said of the boot of a machine, as the autoscaler keeps it: bounded, printable, without secrets."""

    first_line: int = 0
    """The number of the first line that is kept, from 0; those before are gone."""
    lines: tuple[str, ...] = ()
    at_ms: int = 0
    """When the last of it came."""
    own_count: int | None = None
    """So many lines of it the machine itself has said, those that are gone included; the others a program has said that made it. None: all."""


class ReportBootOutput(Frozen, frozen=True, kw_only=True):
    """The last lines of what a machine says while it boots; whoever sends this has seen the machine's own secret."""

    machine: MachineId
    first_line: int = 0
    """The number of the first of them, from 0."""
    lines: tuple[str, ...] = ()
    """Printable, bounded. What was told before is told again, so that only the last report has to arrive."""


class BootOutputHeard(Frozen, frozen=True, kw_only=True):
    """Answer to ReportBootOutput."""

    kept: bool
    """False: nobody knows the machine, or it has come up long ago, or it is going."""


class ReadBootLog(Frozen, frozen=True, kw_only=True):
    """What was said of the boot of a machine? NotFound: there is no such machine, nor was there one lately."""

    machine: MachineId
    from_line: int = 0
    """Negative: the last lines."""


class BootLogLines(Frozen, frozen=True, kw_only=True):
    """Answer to ReadBootLog."""

    lines: tuple[str, ...] = ()
    from_line: int = 0
    """The number of the first of them, from 0."""
    next_line: int = 0
    """Ask from here for what follows."""
    ended: bool = False
    """Nothing more will come."""


READ_BOOT_LOG: Final = Request("autoscaler.read_boot_log", ReadBootLog, BootLogLines, idempotent=True)
REPORT_BOOT_OUTPUT: Final = Request("autoscaler.report_boot_output", ReportBootOutput, BootOutputHeard, idempotent=True)
