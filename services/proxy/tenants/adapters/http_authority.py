"""An authority behind HTTP: the original's protocol, at webodm.net (`lightning`) or at any address (`http`).

    POST <url>/tokens/validate   {"token"}               {"valid", "limits": {"maxImages", "maxConcurrentTasks", "options"}}
    POST <url>/tasks/approve     {"token", "imagesCount"} {"approved", "error"}
    POST <url>/tasks/finished    {"token", "taskInfo"}    {"error"?}; taskInfo is JSON in a text

`http` may say more of a token: `tenant` (its name: then tasks are its tenant's, and the token may be rotated), `weight`, `priority`, and among the limits
`maxTaskBytes` and `storageBytes`. It may answer 404 to the other two, when it does not want to be asked.
Redirects are not followed, answers are bounded in time and length, and no error names a token.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from clusterodm.libs.common.errors import NodeFailed, Refused
from clusterodm.libs.common.http_io.client import Client
from clusterodm.libs.common.http_io.origins import ClientRequest, Origin, Timeouts
from clusterodm.libs.common.model.values import Owner
from clusterodm.libs.common.tenancy import Tenant, limits_of, mistake_in_tenant, shown
from clusterodm.libs.common.untrusted import Malformed, decode_json
from clusterodm.libs.http1.lines import Header, request_head
from clusterodm.services.proxy.exchange.nodeodm_api import AUTH_INFO
from clusterodm.services.proxy.tenants.adapters.remote import Unanswered

LIGHTNING_URL: Final = "https://webodm.net/r"
LIGHTNING_INFO: Final[Mapping[str, Any]] = {
    "message": "Please enter your webodm.net credentials. If you don't have an account, register for free at "
    "https://webodm.net/register",
    "loginUrl": "https://webodm.net/r/auth/getToken",
    "registerUrl": None,
}
"""The original's words."""
NAME: Final = "the server that checks tokens"
CONNECTIONS_COUNT: Final = 16
ANSWER_BYTES: Final = 1 << 20
OK: Final = 200
NOT_THERE: Final = 404
UNNAMED: Final = "nobody"
"""A name that lets the rules for tenants be used on one that has none."""


class TokenLimits(msgspec.Struct, frozen=True, rename="camel"):
    """What an answer says a token may do; what is not known of it is ignored."""

    max_images: int | None = None
    max_concurrent_tasks: int | None = None
    max_task_bytes: int | None = None
    storage_bytes: int | None = None
    options: dict[str, Any] | None = None


class TokenAnswer(msgspec.Struct, frozen=True):
    """Whether a token is valid, and for whom it speaks."""

    valid: bool = False
    limits: TokenLimits | list[Any] | None = None
    """A list: none, as the original's own provider says it."""
    tenant: str = ""
    weight: int = 1
    priority: int = 0
    labels: tuple[str, ...] = ()


class ApprovalAnswer(msgspec.Struct, frozen=True):
    """Whether a task may begin."""

    approved: bool = False
    error: str | None = None


class FinishedAnswer(msgspec.Struct, frozen=True):
    """Whether the end of a task was taken in."""

    error: Any = None


class HttpAuthority:
    """Implements remote.Authority."""

    def __init__(self, url: str, timeout_s: float, *, lightning: bool = False) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._origin = Origin(parts.hostname or "", parts.port or (443 if self._tls else 80), self._tls)
        self._host = parts.netloc.rpartition("@")[2].encode()
        self._path = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._lightning = lightning
        self._client = Client(CONNECTIONS_COUNT)

    async def validate(self, token: str) -> Tenant | None:
        """Ask for whom a token speaks."""
        status, content = await self._post("/tokens/validate", {"token": token})
        if status != OK:
            raise Unanswered(f"{NAME} answered with status {status}")
        try:
            return tenant_of(decode_json(content, TokenAnswer), shown(token).owner)
        except (Malformed, Refused) as error:
            raise Unanswered(f"{NAME} answered with nonsense: {error}") from None

    async def approve(self, token: str, images_count: int) -> None:
        """Ask whether a task may begin."""
        if not images_count:
            raise Refused("Invalid images count")
        status, content = await self._post("/tasks/approve", {"token": token, "imagesCount": images_count})
        if status == NOT_THERE and not self._lightning:
            return
        if status != OK:
            raise Refused(f"Cannot approve task. Please contact support. Service responded with status {status}")
        try:
            answer = decode_json(content, ApprovalAnswer)
        except Malformed as error:
            raise Unanswered(f"{NAME} answered with nonsense: {error}") from None
        if not answer.approved:
            raise Refused((answer.error or "This task was not approved.")[:500])

    async def finished(self, token: str, info: Mapping[str, Any]) -> None:
        """Tell that a task has ended."""
        status, content = await self._post(
            "/tasks/finished", {"token": token, "taskInfo": msgspec.json.encode(info).decode()}
        )
        if status == NOT_THERE and not self._lightning:
            return
        if status != OK:
            raise Unanswered(f"{NAME} answered with status {status}")
        try:
            answer = decode_json(content, FinishedAnswer)
        except Malformed as error:
            raise Unanswered(f"{NAME} answered with nonsense: {error}") from None
        if answer.error:
            raise Unanswered(f"{NAME} has not taken it in")

    def auth_info(self) -> Mapping[str, Any]:
        """Say where clients log in."""
        return LIGHTNING_INFO if self._lightning else AUTH_INFO

    async def _post(self, path: str, value: Mapping[str, Any]) -> tuple[int, bytes]:
        """Ask once; status and content. Raises Unanswered."""
        body = msgspec.json.encode(value)
        timeouts = Timeouts(self._timeout_s, self._timeout_s, self._timeout_s)
        asked = ClientRequest(head_of(f"{self._path}{path}", self._host, body) + body)
        until_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout(self._timeout_s), self._client.ask(self._origin, NAME, asked, timeouts) as link:
                status = 0 if link.head is None else link.head.status
                return status, await link.read(ANSWER_BYTES, self._timeout_s, until_s)
        except TimeoutError:
            raise Unanswered(f"{NAME} timed out") from None
        except NodeFailed as error:
            raise Unanswered(error.message) from None


def head_of(target: str, host: bytes, body: bytes) -> bytes:
    """Write the head of a request."""
    headers: list[Header] = [
        (b"host", host),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"accept", b"application/json"),
        (b"user-agent", b"ClusterODM"),
    ]
    return request_head(b"POST", target.encode(), headers)


def tenant_of(answer: TokenAnswer, owner: Owner) -> Tenant | None:
    """Read for whom a token speaks; without a name, for its own owner. Raises Malformed, Refused."""
    if not answer.valid:
        return None
    limits = answer.limits if isinstance(answer.limits, TokenLimits) else TokenLimits()
    tenant = Tenant(
        name=answer.tenant or UNNAMED,
        owner=Owner("") if answer.tenant else owner,
        weight=answer.weight,
        priority=answer.priority,
        max_images_count=limits.max_images or 0,
        max_task_bytes=limits.max_task_bytes or 0,
        tasks_at_once_count=limits.max_concurrent_tasks or 0,
        storage_bytes=limits.storage_bytes or 0,
        options=limits_of(limits.options or {}),
        labels=answer.labels,
    )
    if mistake := mistake_in_tenant(tenant):
        raise Refused(mistake)
    return tenant if answer.tenant else msgspec.structs.replace(tenant, name="")
