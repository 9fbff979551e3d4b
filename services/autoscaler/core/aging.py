"""How old everything about a machine is, as this process has counted it.

Limits of a machine (run time, idle time, uploads, silence) and what it has cost depend on times in its record, which are wall times. A
plan must not change because the wall clock steps: so before a plan is made, each of these times is said anew, as far before the
present as the monotonic clock has counted since it was first seen here. After a start that is what the wall clock says, within bounds.
"""

from typing import Final

import msgspec

from libs.common.clocks import InstantCache, Now
from libs.common.model import Machine, MachineId

LONGEST_S: Final = 7 * 24 * 3600.0
"""How old at most anything counts as that this process has not seen begin."""
TIMES: Final = (
    "requested_at_ms",
    "state_at_ms",
    "called_at_ms",
    "created_at_ms",
    "online_at_ms",
    "emptied_at_ms",
    "failed_at_ms",
    "offline_since_ms",
)


class Ages:
    """What has been counted of the machines that exist."""

    def __init__(self) -> None:
        self._instants: InstantCache[tuple[MachineId, str]] = InstantCache()

    def __repr__(self) -> str:
        """Show how much."""
        return f"Ages({self._instants!r})"

    def restated(self, machine: Machine, now: Now) -> Machine:
        """Say a machine's times anew."""
        times = {name: self.time_ms(machine.id, name, getattr(machine, name), now) for name in TIMES}
        return msgspec.structs.replace(machine, **times)

    def time_ms(self, machine: MachineId, name: str, at_ms: int | None, now: Now) -> int | None:
        """Say one time anew; None and 0 are none."""
        if not at_ms:
            return at_ms
        age_s = now.instant - self._instants.since((machine, name), at_ms, now, LONGEST_S)
        return now.wall_ms - round(age_s * 1000)

    def keep(self, machines: set[MachineId]) -> None:
        """Forget all others."""
        self._instants.keep({(machine, name) for machine in machines for name in (*TIMES, "uploading_since_ms")})
