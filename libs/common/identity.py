"""Whose task it is, worked out from a token that is then forgotten. Pure.

The proxy names the owner of every new task with it, and the import of an existing installation that of every old one:
both must come to the same answer. A task of one token is not found with another (decision 22 says why a client
without any token finds it).
"""

from clusterodm.libs.common.model.values import Owner
from clusterodm.libs.common.tenancy import shown


def owner_of(token: str | None) -> Owner:
    """Name the owner behind a client's token. No token and the empty token are the same owner, the nameless one."""
    return shown(token or "").owner


def may_touch(client: Owner | None, owner: Owner) -> bool:
    """Whether a client reaches what is an owner's: only two different tokens keep them apart. None: no client asks, but the cluster itself."""
    return client == owner or not client or not owner
