"""Operators: what they have done, for whoever keeps account of it, and what they tell all processes of their logs."""

from typing import Final, Literal

from clusterodm.libs.common.messages.kinds import Event
from clusterodm.libs.common.model.values import Frozen

LogLevel = Literal["debug", "info", "warning", "error"]


class OperatorActed(Frozen, frozen=True, kw_only=True):
    """An operator has done something, or was not allowed to. What only reads is not told."""

    at_ms: int
    user: str
    """As who: the user of a password is called as its role is, whoever has typed a command as that computer does, and others `NAME (oidc:ID)`: as their identity provider calls
    them, which may change and be another's too, and by what identifies them there; empty: somebody who did not get in."""
    role: str
    """viewer, operator or admin; empty: of whoever did not get in"""
    door: str
    """telnet, web or cli; empty: of several"""
    address: str = ""
    """From where."""
    act: str
    """`NODE LOCK`, `TASK CANCEL`, `SIGN IN`; `POST` and the like for what the web refused before it was read"""
    target: str = ""
    """What it was done to."""
    outcome: str = "done"
    """done, refused or failed"""
    reason: str = ""
    count: int = 1
    """For how many this stands: of people who did not get in the first few are told each, of the others the number, every ten minutes."""


OPERATOR_ACTED: Final = Event("operator.acted", OperatorActed)


class LogLevelSet(Frozen, frozen=True, kw_only=True):
    """From now on lines of this level and above are logged by every process of a service, until it is restarted."""

    level: LogLevel
    service: str = ""
    """Empty: all of them."""


LOG_LEVEL_SET: Final = Event("log.level_set", LogLevelSet)
