"""Whose task it is, worked out from a token that is then forgotten. Pure.

The proxy names the owner of every new task with it, and the import of an existing installation that of every old one:
both must come to the same answer. A task of one token is not found with another (docs/decisions/0022.md says why a client
without any token finds it).
"""

import hashlib
from typing import Final

from clusterodm.libs.common.model.values import Owner

OWNER_LENGTH: Final = 32
"""Hexadecimal digits: 128 bits, far beyond chance."""


def owner_of(token: str | None) -> Owner:
    """Name the owner behind a client's token. No token and the empty token are the same owner, the nameless one."""
    if not token:
        return Owner("")
    return Owner(hashlib.sha256(token.encode()).hexdigest()[:OWNER_LENGTH])


def may_touch(client: Owner, owner: Owner) -> bool:
    """Whether a client reaches what is an owner's. Only two different tokens keep them apart."""
    return client == owner or not client or not owner
