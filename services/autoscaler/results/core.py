"""Where results lie in the bucket, and how they may be fetched from there.

NodeODM puts each result under the id that the task has on the node, by its path in the project. Its own default makes
results public (`public-read`); whether that has come about is seen by asking without keys, for a bucket may forbid it.
"""

import re
from typing import Final

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.model.values import NodeTaskId

ALIASES: Final = {"orthophoto.tif": "odm_orthophoto/odm_orthophoto.tif"}
"""What clients call otherwise than the project does."""
PUBLIC: Final = frozenset(("", "public-read", "public-read-write"))
"""The `acl` that lets everybody read; empty is NodeODM's default."""
TASK: Final = re.compile(r"[\w-]{1,100}", re.ASCII)
LONGEST_ASSET: Final = 500


def key_of(task: NodeTaskId, asset: str) -> str:
    """Say under which key a result lies. Raises Refused for what is no result."""
    path = ALIASES.get(asset, asset)
    if not TASK.fullmatch(task) or len(path) > LONGEST_ASSET or not all(part.strip(".") for part in path.split("/")):
        raise Refused("Invalid asset")
    return f"{task}/{path}"


def may_be_public(acl: str) -> bool:
    """Whether it is worth asking without keys."""
    return acl in PUBLIC
