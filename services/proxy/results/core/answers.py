"""Where a result may lie, which answers about it pass to a client, and which header lines. Pure; what is said of parts: ranges.py.

The places, in the order in which they are tried:

    machine   the task ran on a rented machine, which is gone or about to go: its node has put the results into a bucket, and
              the autoscaler, who has the keys, says where
    prefix    `--downloads-from-s3 URL`: at <URL>/<id of the task on its node>/<asset>, for everybody to read
    node      the node itself, as long as it is registered

Nobody is sent to an address before something has been seen there: clients save what they get, and would keep S3's XML about
a missing key as their zip.

Both ways only header lines that are known go on, so that a line which somebody invents tomorrow does not.

    towards a node      what changes its answer; never a cookie, an authorization or an origin
    towards a client    what describes the content, and how long it may be kept

A client's browser takes a node's answer for ours, so nothing goes on that would act on our origin, or that we say ourselves:

    lines of a node                                         passed on   because they
    Content-*, Accept-Ranges, ETag, Last-Modified, digests  by status   describe the content: `Content-Range` of a part (206, 416) only,
                                                                        and nothing but the version where none is sent (304)
    Cache-Control, Expires                                  yes         say how long it may be kept
    Location                                                a path      lead elsewhere: only to a path of ours
    Set-Cookie, Clear-Site-Data                             no          write and delete what browsers keep for our origin
    Strict-Transport-Security, Alt-Svc, Refresh, Link       no          send browsers to another port, protocol or place
    WWW-Authenticate, Proxy-Authenticate                    no          ask users for a password, in our name
    Content-Security-Policy*, X-Content-Type-Options        ours        see below
    Permissions-Policy, NEL ...                             no          make browsers report, or forbid, for our origin
    Access-Control-*, Date, Server, Vary, X-Powered-By      no          are said by us
    Connection and what it names, Transfer-Encoding ...     no          are between two neighbours (RFC 9110, 7.6.1)

`Content-Security-Policy` and `Content-Location` begin like what describes the content; the list names each line in full.

What a browser would run is said by us, too:

    a result     `nosniff`, and `sandbox`: a result that calls itself HTML or SVG runs no script, and belongs to no origin. PDF is spared:
                 browsers show none in a sandbox, and it has no scripts that reach us
    a page       of NodeODM's web interface runs, as it has to; it loads and sends at this address only
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final
from urllib.parse import quote, urlsplit

from clusterodm.libs.common.console import attempt_on_node
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.http1.lines import Header, find
from clusterodm.services.proxy.results.core.ranges import (
    NOT_SATISFIABLE,
    PARTIAL,
    RANGE_LINE,
    answers_range,
    media_type,
    single_range,
)

ALIASES: Final = {"orthophoto.tif": "odm_orthophoto/odm_orthophoto.tif"}
"""What clients call otherwise than the project does."""
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
OK: Final = 200
NOT_MODIFIED: Final = 304
NOT_THERE: Final = frozenset((403, 404))
"""A bucket that may not be listed says 403 of what it does not have."""

ANSWERS_TO: Final[Mapping[int, tuple[bytes, ...]]] = {
    OK: (),
    PARTIAL: (RANGE_LINE,),
    NOT_MODIFIED: (b"if-none-match", b"if-modified-since"),
    412: (b"if-match", b"if-unmodified-since"),
    NOT_SATISFIABLE: (RANGE_LINE,),
}
"""What passes to clients, and which lines of a request it answers: a part or nothing would pass for the whole with a client that asked for the whole."""

LOCAL_PATH: Final = re.compile(rb"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?")

TOWARDS_CLIENT: Final = frozenset(
    (
        b"accept-ranges",
        b"cache-control",
        b"content-digest",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"digest",
        b"etag",
        b"expires",
        b"last-modified",
        b"location",
        b"repr-digest",
    )
)

OF_THE_WHOLE: Final = TOWARDS_CLIENT - {b"content-range"}
OF_A_VERSION: Final = frozenset((b"cache-control", b"etag", b"expires", b"last-modified"))
"""What an answer without content tells of it. Caches write the lines of such a one over those that they keep (RFC 9110, 15.4.5; RFC 9111, 3.2)."""
BY_STATUS: Final = {PARTIAL: TOWARDS_CLIENT, NOT_SATISFIABLE: TOWARDS_CLIENT, NOT_MODIFIED: OF_A_VERSION}
"""What passes else than `OF_THE_WHOLE`."""

PDF: Final = b"application/pdf"
TYPE_COUNTS: Final = (b"x-content-type-options", b"nosniff")
RUNS_NOTHING: Final = (b"content-security-policy", b"sandbox")
STAYS_HERE: Final = (
    b"content-security-policy",
    b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'",
)

OF_RANGES: Final = frozenset((RANGE_LINE, b"if-range"))
TOWARDS_NODE: Final = frozenset(
    (
        b"accept",
        b"accept-encoding",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"user-agent",
    )
)


class ResultPlace(StrEnum):
    """Where a result may lie."""

    MACHINE = "machine"
    PREFIX = "prefix"
    NODE = "node"


class StorageAnswer(StrEnum):
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


def places(task: Task, prefix: str, *, node_known: bool) -> tuple[ResultPlace, ...]:
    """Say where to look."""
    attempt = attempt_on_node(task)
    if attempt is None:
        return ()
    found = [stored(attempt, prefix)] if has_completed(task) else []
    return tuple(place for place in (*found, ResultPlace.NODE if node_known else None) if place)


def has_completed(task: Task) -> bool:
    """Whether its last run has a result. One that was canceled after its end has it still."""
    said = task.known.code if task.known else None
    return task.state is TaskState.COMPLETED or (task.state is TaskState.CANCELED and said is StatusCode.COMPLETED)


def stored(attempt: Attempt, prefix: str) -> ResultPlace | None:
    """Say which storage a finished attempt has used."""
    if attempt.machine is not None:
        return ResultPlace.MACHINE
    return ResultPlace.PREFIX if prefix else None


def address(prefix: str, attempt: Attempt, asset: str) -> str:
    """Write the address of a result under `--downloads-from-s3`."""
    return f"{prefix.rstrip('/')}/{attempt.node_task_id}/{quote(ALIASES.get(asset, asset))}"


def passes(status: int, asked: Sequence[Header], told: Sequence[Header]) -> bool:
    """Whether an answer with the lines `told` tells of a result, and is one to what was asked."""
    lines = ANSWERS_TO.get(status)
    if lines is None or (lines and all(find(asked, name) is None for name in lines)):
        return False
    return RANGE_LINE not in lines or answers_range(status, asked, told)


def seen(status: int, asked: Sequence[Header] = (), told: Sequence[Header] = ()) -> StorageAnswer:
    """Judge the answer to a question for a result."""
    if passes(status, asked, told):
        return StorageAnswer.THERE
    return StorageAnswer.MISSING if status in NOT_THERE else StorageAnswer.TROUBLE


def storage_and_path(url: str) -> tuple[Storage, bytes]:
    """Take an address apart: whom to ask, and for what."""
    parts = urlsplit(url)
    root = f"{parts.scheme}://{parts.netloc}"
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return Storage(id=NodeId(root), hostname=parts.hostname or "", port=port, root=root), path.encode()


def for_client(status: int, headers: Sequence[Header]) -> list[Header]:
    """Choose the lines of a node's answer that the client gets."""
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    known = BY_STATUS.get(status, OF_THE_WHOLE)
    return [line for line in headers if line[0] in known and line[0] not in named and leads_nowhere_else(line)]


def of_result(status: int, headers: Sequence[Header]) -> list[Header]:
    """Write the lines of a result, from a node or a storage, for its client."""
    return [*for_client(status, headers), TYPE_COUNTS, *(() if media_type(headers) == PDF else (RUNS_NOTHING,))]


def of_page(status: int, headers: Sequence[Header]) -> list[Header]:
    """Write the lines of a page of NodeODM's web interface for its client."""
    return [*for_client(status, headers), TYPE_COUNTS, STAYS_HERE]


def leads_nowhere_else(line: Header) -> bool:
    """Whether a line is no redirect, or one to a path here. Browsers read a backslash as a slash, and skip some characters."""
    name, value = line
    return name != b"location" or LOCAL_PATH.fullmatch(value) is not None


def for_node(headers: Sequence[Header]) -> list[Header]:
    """Choose the lines of a client's request that the node gets; for more than one range, or nonsense, it is asked for everything."""
    passed_over = () if single_range(headers) else OF_RANGES
    return [(name, value) for name, value in headers if name in TOWARDS_NODE and name not in passed_over]
