"""Where a result may lie, in the order in which the places are tried, and what a place's answer means. Pure.

    machine   the task ran on a rented machine, which is gone or about to go: its node has put the results into a bucket, and
              the autoscaler, who has the keys, says where
    prefix    `--downloads-from-s3 URL`: at <URL>/<id of the task on its node>/<asset>, for everybody to read
    node      the node itself, as long as it is registered

Nobody is sent to an address before something has been seen there: clients save what they get, and would keep S3's XML about
a missing key as their zip.
"""

from enum import StrEnum
from typing import Final
from urllib.parse import quote, urlsplit

from libs.common.model import Attempt, Node, NodeId, StatusCode, Task, TaskState
from services.proxy.core.polls import attempt_on_node

ALIASES: Final = {"orthophoto.tif": "odm_orthophoto/odm_orthophoto.tif"}
"""What clients call otherwise than the project does."""
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
OK: Final = 200
PASSED_ON: Final = frozenset((OK, 206, 304, 416))
NOT_THERE: Final = frozenset((403, 404))
"""A bucket that may not be listed says 403 of what it does not have."""


class Place(StrEnum):
    """Where a result may lie."""

    MACHINE = "machine"
    PREFIX = "prefix"
    NODE = "node"


class Seen(StrEnum):
    """What a storage's answer means."""

    THERE = "there"
    MISSING = "missing"
    TROUBLE = "trouble"


class Storage(Node, frozen=True, kw_only=True):
    """A server that keeps results, asked as nodes are."""

    root: str
    """Scheme and authority, as they stand in its URLs: signatures hold for exactly this."""

    @property
    def url(self) -> str:
        """The root of its addresses."""
        return self.root

    @property
    def name(self) -> str:
        """How logs call it."""
        return self.root


def places(task: Task, prefix: str, *, node_known: bool) -> tuple[Place, ...]:
    """Say where to look."""
    attempt = attempt_on_node(task)
    if attempt is None:
        return ()
    found = [stored(attempt, prefix)] if has_completed(task) else []
    return tuple(place for place in (*found, Place.NODE if node_known else None) if place)


def has_completed(task: Task) -> bool:
    """Whether its last run has a result. One that was canceled after its end has it still."""
    said = task.known.code if task.known else None
    return task.state is TaskState.COMPLETED or (task.state is TaskState.CANCELED and said is StatusCode.COMPLETED)


def stored(attempt: Attempt, prefix: str) -> Place | None:
    """Say which storage a finished attempt has used."""
    if attempt.machine is not None:
        return Place.MACHINE
    return Place.PREFIX if prefix else None


def address(prefix: str, attempt: Attempt, asset: str) -> str:
    """Write the address of a result under `--downloads-from-s3`."""
    return f"{prefix.rstrip('/')}/{attempt.node_task_id}/{quote(ALIASES.get(asset, asset))}"


def seen(status: int) -> Seen:
    """Judge the answer to a question for a result."""
    if status in PASSED_ON:
        return Seen.THERE
    return Seen.MISSING if status in NOT_THERE else Seen.TROUBLE


def storage_and_path(url: str) -> tuple[Storage, bytes]:
    """Take an address apart: whom to ask, and for what."""
    parts = urlsplit(url)
    root = f"{parts.scheme}://{parts.netloc}"
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return Storage(id=NodeId(root), hostname=parts.hostname or "", port=port, root=root), path.encode()
