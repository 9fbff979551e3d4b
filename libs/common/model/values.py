"""Ids, and what all nouns have in common."""

import re
from typing import Final, NewType

import msgspec

TaskId = NewType("TaskId", str)
"""The public id of a task: a UUID, lower or upper case as the client gave it."""
TASK_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


NodeTaskId = NewType("NodeTaskId", str)
"""The id of one attempt on its node; that of the first attempt is the task id, unless files went ahead of the commit."""


NodeId = NewType("NodeId", str)
"""Key of a node, derived from hostname and port: a node added again is the same node."""


InstanceId = NewType("InstanceId", str)
"""One proxy with its spool directory; it survives restarts."""


Owner = NewType("Owner", str)
"""Whose task it is: a digest of the client's token, never the token. Empty: a cluster without tokens."""
NOBODY: Final = Owner("")


MachineId = NewType("MachineId", str)
"""A rented computer."""


IncarnationId = NewType("IncarnationId", str)
"""One life of the cluster's store: libs/common/bus/incarnation.py."""


class Frozen(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value. Unknown fields are ignored when it is read, so that an older reader meets a newer writer."""
