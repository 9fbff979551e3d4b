"""The words about tenants and tokens: a line becomes what is to be done with the file of tokens. None: it is another word.

Limits are written as `name=value`, by the names of the flags of `clusterodm tenant set`: `TENANT SET survey weight=3 task-size=50GB labels=gpu,big`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clusterodm.services.admin.commands.core.commands import UnknownCommand
from clusterodm.services.admin.telnet.core.grammar import Grammar, Mistake, count, number, read_line
from clusterodm.services.admin.tenants.core.commands import (
    CreateToken,
    ListTenants,
    ListTokens,
    RemoveTenant,
    RevokeToken,
    RotateToken,
    SetTenant,
    TenantCommand,
)

LIMITS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "weight": ("weight", count),
    "priority": ("priority", number),
    "max-images": ("max_images_count", count),
    "task-size": ("max_task_bytes", str),
    "tasks-at-once": ("tasks_at_once_count", count),
    "storage": ("storage_bytes", str),
    "labels": ("labels", str),
}
"""What a limit is called, in which field it is, and how it is read."""


def parse_tenants(line: str) -> TenantCommand | UnknownCommand | None:
    """Say what a line asks to be done with the file of tokens; None: nothing."""
    return read_line(line, GRAMMAR)


def read_create(words: Sequence[str]) -> TenantCommand:
    """Read what follows TOKEN CREATE. A note is the rest of the line."""
    place = next((at for at, word in enumerate(words) if word.startswith("note=")), len(words))
    note = " ".join(words[place:]).removeprefix("note=")
    given = dict(pairs(words[1:place]))
    expires = given.pop("expires", "")
    return CreateToken(words[0], limits(given), expires, note)


def limits(given: Mapping[str, str]) -> dict[str, Any]:
    """Read limits. Raises Mistake."""
    for name in given:
        if name not in LIMITS:
            raise Mistake(f"{name} is no limit: {', '.join(LIMITS)}")
    return {LIMITS[name][0]: LIMITS[name][1](value) for name, value in given.items()}


def pairs(words: Sequence[str]) -> Sequence[tuple[str, str]]:
    """Read `name=value`. Raises Mistake."""
    found = [word.partition("=") for word in words]
    for name, equals, _ in found:
        if not equals:
            raise Mistake(f"{name} is no name=value")
    return [(name.lower(), value) for name, _, value in found]


GRAMMAR: Final[Grammar[TenantCommand]] = {
    ("TOKEN", "CREATE"): (1, read_create),
    ("TOKEN", "ROTATE"): (1, lambda words: RotateToken(words[0], words[1] if len(words) > 1 else "24h")),
    ("TOKEN", "REVOKE"): (1, lambda words: RevokeToken(words[0])),
    ("TOKEN", "LIST"): (0, lambda words: ListTokens(words[0] if words else "")),
    ("TENANT", "LIST"): (0, lambda _: ListTenants()),
    ("TENANT", "SET"): (2, lambda words: SetTenant(words[0], limits(dict(pairs(words[1:]))))),
    ("TENANT", "REMOVE"): (1, lambda words: RemoveTenant(words[0])),
}
HELP: Final = (
    "TENANT LIST - List the tenants with what each may do",
    f"TENANT SET <tenant> <name=value ...> - Change what a tenant may do: {', '.join(LIMITS)}",
    "TENANT REMOVE <tenant> - Take a tenant out with its tokens; its tasks stay, and no token reaches them",
    "TOKEN LIST [tenant] - List tokens by their ids, without secrets",
    "TOKEN CREATE <tenant> [expires=90d] [name=value ...] [note=...] - Make a token, and its tenant where it is new; it is shown this once",
    "TOKEN ROTATE <id> [24h] - Make another token for the same tenant; the old one counts for so long yet",
    "TOKEN REVOKE <id> - Let a token count no more",
)
