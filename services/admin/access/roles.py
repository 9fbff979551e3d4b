"""The three roles of operators, and which of them a command needs.

    viewer     sees everything
    operator   and steers tasks, nodes and the autoscaler: nothing that cannot be undone, and no task's results but by name
    admin      and adds and forgets nodes, and destroys machines

The same on every road: a command is judged where it is carried out (commands/handlers), not where it comes in.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from clusterodm.libs.common.model.values import Frozen

if TYPE_CHECKING:
    from clusterodm.services.admin.access.refused import ReportedRefusals


class Role(IntEnum):
    """What somebody may do; a larger one may all that a smaller one may."""

    NONE = 0
    """Of whoever has not signed in."""
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """Its name; empty: there is none."""
        return self.name.lower() if self else ""


ROLES: Final[Mapping[str, Role]] = {role.word: role for role in Role if role}


class Principal(Frozen, frozen=True):
    """Who acts, and from where."""

    user: str
    """Whom limits, sessions and refusals are counted for: a password's role, whoever has typed a command, or what identifies somebody at the identity provider."""
    role: Role
    door: str
    """telnet, web or cli"""
    address: str = ""
    name: str = ""
    """What the identity provider calls it. Others may be called the same, and it may change: it is shown, and nothing is decided by it."""

    @property
    def shown(self) -> str:
        """How it is called where people read it: as no password is, and nobody else at the provider, since what is in brackets is its own, and a name has none."""
        return f"{self.name} ({self.user})" if self.name else self.user


NOBODY_ELSE: Final = Principal("admin", Role.ADMIN, "here")
"""Who acts where there is no password: whoever reaches this computer's own ports, or the command line with NATS' password."""
acting: ContextVar[Principal] = ContextVar("acting", default=NOBODY_ELSE)
"""Who acts in this asyncio task."""
reported: ContextVar["ReportedRefusals | None"] = ContextVar("reported", default=None)
"""What has been told of those who may ask again as fast as they like; None: each refusal for lack of a role is told."""


NEEDS_ROLE: Final = "this needs the role"
"""How it is said that somebody may not."""


def refusal(principal: Principal, needed: Role) -> str:
    """Say why somebody may not do what needs a role; empty: it is allowed."""
    return "" if principal.role >= needed else f"{NEEDS_ROLE} {needed.word}; you are {principal.role.word}"


def role_rules(text: str) -> Mapping[str, Role]:
    """Read `admins=admin,ops=operator,*=viewer`. Raises ValueError."""
    rules: dict[str, Role] = {}
    for word in filter(None, (each.strip() for each in text.split(","))):
        group, equals, role = word.rpartition("=")
        if not equals or role.strip() not in ROLES or not group.strip():
            raise ValueError(f"{word!r} is not GROUP=ROLE, with {', '.join(ROLES)} as role")
        rules[group.strip()] = ROLES[role.strip()]
    return rules
