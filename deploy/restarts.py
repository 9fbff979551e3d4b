"""When an ended process is started again, and how its end is told."""

import signal
from dataclasses import dataclass
from typing import Final, NamedTuple

from clusterodm.libs.common.exit_codes import EXIT_REFUSED, EXIT_USAGE

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
SETTLED_S: Final = 10.0
"""Whoever has run for so long had started well."""


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """How one process is treated."""

    grace_s: float
    """From SIGTERM to SIGKILL."""
    tier: int = 1
    lets_ahead_s: float = 0.0
    """So long, at most, it leaves the processor to those of its tier that begin at once; until then they may be ready."""
    job: bool = False
    """It ends by itself, and then its work is done."""
    silence_s: float = 0.0
    """How long it may give no sign of life; 0: for ever."""
    own: bool = True
    """Ours, so that exit code 2 means wrong settings. A Go program ends like that when it panics."""
    hint: str = ""
    """Where the reason of its end can be read."""


class ProcessEnd(NamedTuple):
    """How one run of a process ended: a negative `code` is the signal that killed it."""

    code: int
    ran_s: float
    first: bool

    def final(self, policy: RestartPolicy) -> bool:
        """Whether starting it again would be of no use."""
        soon = self.ran_s < SETTLED_S or self.code == EXIT_REFUSED  # which later is worth a try: it had worked
        return (policy.own and self.code == EXIT_USAGE) or (self.first and self.code >= 0 and soon)

    def __str__(self) -> str:
        """Say it in words."""
        return f"killed by {signal_name(-self.code)}" if self.code < 0 else f"exit code {self.code}"


def signal_name(number: int) -> str:
    """Name a signal; real-time signals have none."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def pause_s(previous_s: float, ran_s: float) -> float:
    """How long to wait before the next start: doubled each time, forgotten once it has run well."""
    return FIRST_PAUSE_S if ran_s >= SETTLED_S or not previous_s else min(previous_s * 2, LONGEST_PAUSE_S)
