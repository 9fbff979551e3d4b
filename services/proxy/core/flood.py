"""How many uploads one client may have open at once (`--flood-limit`). Pure.

Only uploads that exist count: one that was refused, committed, discarded or has expired does not. Clients are told apart
by their tokens; without tokens they are all one, as in the original.
"""

from collections.abc import Iterable
from typing import Final

from libs.common.errors import Refused
from libs.common.model import Owner

SLOW_DOWN: Final = (
    "Uuh, slow down! It seems like you are sending a lot of tasks. Check that your connection is not dropping, "
    "or wait 15 minutes and try again."
)
"""The original's words."""


def check_flood(open_uploads: Iterable[Owner], owner: Owner, limit_count: int) -> None:
    """Raise Refused when the owner has `limit_count` uploads open already; 0 is no limit.

    `open_uploads` names the owner of every uncommitted upload except the one that is being begun.
    """
    if limit_count and sum(1 for each in open_uploads if each == owner) >= limit_count:
        raise Refused(SLOW_DOWN)
