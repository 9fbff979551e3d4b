"""Ids that nobody else makes: of consumers, requests and messages.

NATS drops a message whose id it has seen, and two consumers of one name are one. `clusterodm up` forks its services from one process that has
imported them, so nothing that was seeded before the fork may go into an id: each is asked of the kernel. (NATS' own NUID keeps a
prefix and a count in memory, which a fork copies.)
"""

import os
from typing import Final

ID_BYTES: Final = 11
"""Makes 22 characters, as many as a NUID has; they may stand in subjects and in names of consumers."""


def new_id() -> str:
    """Make an id."""
    return os.urandom(ID_BYTES).hex()
