"""Under which id a new task goes, and whose it is. Pure.

NodeODM takes a client's own id (header `set-uuid`) when it is a UUID of version 1 to 7; so do we. The id is kept as it was
written: in another letter case it is another task.
"""

import re
from typing import Final

from libs.common.errors import Refused
from libs.common.identity import owner_of
from libs.common.model import TaskId

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-7][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


def task_id(set_uuid: str | None, fresh: str) -> TaskId:
    """Take the client's id, or the fresh one when it named none. Raises Refused for anything that is not a UUID."""
    if not set_uuid:
        return TaskId(fresh)
    if not UUID.fullmatch(set_uuid):
        raise Refused(f"Invalid set-uuid: {set_uuid}")
    return TaskId(set_uuid)


__all__ = ["owner_of", "task_id"]
