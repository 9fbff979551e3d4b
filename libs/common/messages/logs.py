"""What an operator tells all processes of their logs."""

from typing import Final, Literal

from clusterodm.libs.common.messages.kinds import Event
from clusterodm.libs.common.model.values import Frozen

LogLevel = Literal["debug", "info", "warning", "error"]


class LogLevelSet(Frozen, frozen=True, kw_only=True):
    """From now on lines of this level and above are logged by every process of a service, until it is restarted."""

    level: LogLevel
    service: str = ""
    """Empty: all of them."""


LOG_LEVEL_SET: Final = Event("log.level_set", LogLevelSet)
