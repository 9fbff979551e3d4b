"""NodeODM's interface as this proxy speaks it: who asks, addresses, sentences (the original's), and the status of a refusal. Pure."""

import re
from dataclasses import dataclass
from typing import Any, Final

from clusterodm.libs.common.errors import BusFailed, ClusterError, NodeFailed, NotFound, Refused
from clusterodm.libs.common.model.values import Owner
from clusterodm.libs.common.tenancy import Tenant
from clusterodm.services.proxy.errors import BodyTooLong, SpoolFull

API_VERSION: Final = "2.2.4"
"""The NodeODM API that is spoken; clients choose by it how they upload (PyODM: chunked from 1.4.0 on)."""

AUTH_INFO: Final[dict[str, Any]] = {
    "message": "Authentication not available on this node",
    "loginUrl": None,
    "registerUrl": None,
}
WRONG_TOKEN: Final = "Invalid authentication token: token does not match."  # noqa: S105 what is said of one
NOT_AVAILABLE: Final = "Not available"
NO_NODES: Final = "No nodes available"
NO_OPTIONS: Final = "Cannot compute /options, no nodes are online."
MALFORMED_COMMIT: Final = "Malformed /commit request"
NO_FILES: Final = "No files uploaded."
TRY_AGAIN: Final = "The cluster cannot be reached at the moment, please try again."

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-7][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)

PUBLIC: Final = frozenset(("/", "/index.html", "/swagger.json"))
PUBLIC_ENDS: Final = (
    *(".css", ".js", ".map"),
    *(".woff", ".woff2", ".ttf", ".otf", ".eot"),
    *(".ico", ".png", ".gif", ".svg", ".jpg", ".webp"),
)
UUID_AT_END: Final = re.compile(r".*/(\w+-\w+-\w+-\w+-\w+)", re.ASCII)

BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
BAD_GATEWAY: Final = 502
UNAVAILABLE: Final = 503
TOO_LARGE: Final = 413
DISK_FULL: Final = 507


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and how it reached us."""

    owner: Owner
    token: str
    address: str
    """The root of our own address as this client, and so a node, reaches it."""
    tenant: Tenant = Tenant()  # noqa: RUF009 it is frozen
    """What it may do."""
    trace: str = ""
    """The `traceparent` that it gave, where there is one that counts."""

    def __repr__(self) -> str:
        """Show no token."""
        return f"Caller({self.owner or '-'} {self.address})"


def cannot_handle(path: str) -> str:
    """Say that there is no such address."""
    return f"Cannot handle {path}"


def no_uuid(path: str) -> str:
    """Say that a request names no task."""
    return f"No uuid found in {path}"


def no_task(task: str, action: str) -> str:
    """Say that a task is unknown, not committed, removed, or somebody else's: no difference is made."""
    return f"Invalid route for taskId {task}:{action}, no task table entry."


def no_route(task: str, action: str) -> str:
    """Say that a task is on no node at present."""
    return f"Invalid route for taskId {task}:{action}, no valid route possible."


def no_node_for(task: str) -> str:
    """Say that there is no such task to act on."""
    return f"Invalid route for taskId {task}, no nodes in routing table."


def is_page(path: str) -> bool:
    """Whether a path belongs to the web interface, which needs no token."""
    return path in PUBLIC or (path.endswith(PUBLIC_ENDS) and not path.startswith("/task/"))


def status_of(error: ClusterError) -> int:
    """Choose the status of a refused upload."""
    for kind, status in (
        (SpoolFull, DISK_FULL),
        (BodyTooLong, TOO_LARGE),
        (NotFound, NOT_FOUND),
        (Refused, BAD_REQUEST),
        (NodeFailed, BAD_GATEWAY),
    ):
        if isinstance(error, kind):
            return status
    return UNAVAILABLE


def words_of(error: ClusterError) -> str:
    """Choose the sentence for the client: details of the inside are none of its business."""
    return TRY_AGAIN if isinstance(error, BusFailed) else error.message
