"""Which refusals for lack of a role are put on record: each once a while, and no more of one visitor than people read. Pure; the clock is an argument.

Who is refused may ask again as fast as it likes; the stream of events is kept for a time and by its size, and has to last for what others did.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.hosts import account_of
from clusterodm.services.admin.access.roles import Principal

REPORT_AGAIN_S: Final = 60.0
"""After so long a refusal that is repeated is told again."""
MOST_COUNT: Final = 10
"""Different ones of a visitor that are told in that time."""
VISITORS_COUNT: Final = 1000
"""Visitors remembered; beyond, the one whose time began first is forgotten."""


@dataclass
class ReportedVisitor:
    """What was told of one visitor in its time."""

    began: Instant
    acts: set[tuple[str, str]] = field(default_factory=set)


class ReportedRefusals:
    """The refusals of every visitor that had some."""

    def __init__(self) -> None:
        self._visitors: OrderedDict[tuple[str, str], ReportedVisitor] = OrderedDict()

    def is_new(self, principal: Principal, act: str, target: str, now: Instant) -> bool:
        """Judge whether a refusal is to be told, and note that it is."""
        who = (principal.user, account_of(principal.address))
        told = self._visitors.get(who)
        if told is None or now - told.began >= REPORT_AGAIN_S:
            self._visitors[who] = told = ReportedVisitor(now)
            self._visitors.move_to_end(who)
            while len(self._visitors) > VISITORS_COUNT:
                self._visitors.popitem(last=False)
        if (act, target) in told.acts or len(told.acts) >= MOST_COUNT:
            return False
        told.acts.add((act, target))
        return True
