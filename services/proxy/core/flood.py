"""How many uploads one client may have open at once (`--flood-limit`). Pure.

Only uploads that exist count: one that was refused, committed, discarded or has expired does not. Clients are told apart
by their tokens; without tokens they are all one, as in the original.
"""

from typing import Final

from libs.common.errors import Refused

SLOW_DOWN: Final = (
    "Uuh, slow down! It seems like you are sending a lot of tasks. Check that your connection is not dropping, "
    "or wait 15 minutes and try again."
)
"""The original's words."""


def check_flood(open_count: int, limit_count: int) -> None:
    """Raise Refused when an owner has `limit_count` uploads open already; 0 is no limit.

    `open_count`: the owner's uncommitted uploads except the one that is being begun.
    """
    if limit_count and open_count >= limit_count:
        raise Refused(SLOW_DOWN)
