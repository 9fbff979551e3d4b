"""The router: one raw ASGI callable. It checks the token and sends each request where it belongs.

That is: to the proxy that holds its upload (peers), or to the story that answers it. What a story raises about a request that is small
(init, commit, actions, what machines ask) is answered here, as an error that its client knows. An unknown address is answered as the
original does, 200 with `{"error": "Cannot handle …"}`.

Without token, also where one is set: preflight requests, the pages of the web interface, /auth/*, /healthz, /readyz; a node's
POST /commit, a machine's /machine/lease, /machine/boot-log and /machine/boot-output, and another proxy's /proxy/holding, which have secrets of their own. A wrong token is 401 (PyODM: "Do you need to set a token?") with
NodeODM's words, which its page shows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.http_io.scope import Receive, Scope, Send
from clusterodm.libs.common.http_io.sharing import EarlyAnswers
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.telemetry.request_context import cause, new_cause, tenant
from clusterodm.libs.common.tenancy import shown
from clusterodm.services.proxy.actions import ACTIONS, ActionRoutes
from clusterodm.services.proxy.callbacks.api import CallbackRoutes
from clusterodm.services.proxy.errors import ServerBusy
from clusterodm.services.proxy.exchange.limits import BodyLimits, UploadLimiter
from clusterodm.services.proxy.exchange.nodeodm_api import (
    NOT_AVAILABLE,
    UNAVAILABLE,
    WRONG_TOKEN,
    is_page,
)
from clusterodm.services.proxy.exchange.request import OK, BodyStalled, ClientGone, RequestContext
from clusterodm.services.proxy.peers.api import COMMIT, INIT, UPLOAD, PeerRoutes
from clusterodm.services.proxy.peers.handlers import HOLDING
from clusterodm.services.proxy.polling.api import PollRoutes
from clusterodm.services.proxy.results.api import ResultRoutes, is_download
from clusterodm.services.proxy.server.access_log import Answered, AnsweredRequest
from clusterodm.services.proxy.server.endpoints import endpoint_of
from clusterodm.services.proxy.server.health import ProxyHealth
from clusterodm.services.proxy.server.meter import RequestMeter
from clusterodm.services.proxy.server.refusals import LIST, TASK, apologise, preflight, put_off, refuse, unknown
from clusterodm.services.proxy.server.revocation import LongRequests
from clusterodm.services.proxy.server.spans import TraceOf, begun
from clusterodm.services.proxy.tenants.ports import TokenChecker
from clusterodm.services.proxy.uploads.api import UploadRoutes

log = structlog.get_logger()
at_will = structlog.get_logger(at_will=True)

PUBLIC: Final = frozenset(
    (
        "/auth/info",
        "/auth/login",
        "/auth/register",
        "/healthz",
        "/readyz",
        "/machine/lease",
        "/machine/boot-log",
        "/machine/boot-output",
        HOLDING,
    )
)
CREATING: Final = "/task/new/"
NEW: Final = "/task/new"
UNAUTHORIZED: Final = 401
GET: Final = frozenset(("GET", "HEAD"))
POST: Final = frozenset(("POST",))
EVERY_METHOD: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"))

Handle = Callable[[RequestContext], Awaitable[None]]


@dataclass(frozen=True)
class Stories:
    """What answers."""

    uploads: UploadRoutes
    polls: PollRoutes
    results: ResultRoutes
    actions: ActionRoutes
    callbacks: CallbackRoutes
    peers: PeerRoutes
    health: ProxyHealth


class Router:
    """Everything that the public port answers."""

    def __init__(  # noqa: PLR0913, PLR0917 everything that a request meets
        self,
        stories: Stories,
        fast: Sequence[EarlyAnswers[Any]],
        limiter: UploadLimiter,
        bounds: BodyLimits,
        checker: TokenChecker,
        meter: RequestMeter | None = None,
        answered: Answered | None = None,
        trace_of: TraceOf | None = None,
    ) -> None:
        self._trace_of = trace_of
        self._meter = meter or RequestMeter()
        self._answered = answered
        self.fast = fast
        """Who answers before a request comes here."""
        self._stories = stories
        self.limiter = limiter
        self._bounds = bounds
        self._checker = checker
        self.long_requests = LongRequests(checker)
        """What is cut when its token is revoked."""
        self._small = self._listed()

    def _listed(self) -> dict[str, tuple[frozenset[str], Handle]]:
        """List addresses of small requests, methods, and what answers."""
        stories = self._stories
        return {
            INIT: (POST, stories.uploads.init),
            **dict.fromkeys(ACTIONS, (POST, stories.actions.act)),
            LIST: (GET, stories.polls.tasks),
            "/options": (EVERY_METHOD, stories.polls.options),
            "/auth/info": (EVERY_METHOD, self._auth_info),
            "/auth/login": (POST, always({"error": NOT_AVAILABLE})),
            "/auth/register": (POST, always({"error": NOT_AVAILABLE})),
            "/cache/clear": (EVERY_METHOD, always({"ok": True})),
            "/commit": (POST, stories.callbacks.task_finished),
            "/machine/lease": (GET, stories.callbacks.renew_lease),
            "/machine/boot-log": (POST, stories.callbacks.boot_failed),
            "/machine/boot-output": (POST, stories.callbacks.boot_output),
            HOLDING: (POST, stories.peers.holding),
            "/healthz": (GET, self._health),
            "/readyz": (GET, self._health),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or end its connection; never neither."""
        exchange, began = RequestContext(scope, receive, send, self._bounds), monotonic_s()
        cause.set(new_cause())
        span = begun(exchange, self._trace_of) if self._trace_of is not None else None
        try:
            await self._answer(exchange)
        except ClientGone:
            log.debug("client.disconnected", path=exchange.path)
        except BodyStalled:
            at_will.info("request.body_stalled", path=exchange.path)
            exchange.drop()
        except ServerBusy as error:
            at_will.info("request.put_off", path=exchange.path, reason=error.message)
            await put_off(exchange, error)
        except asyncio.CancelledError:  # ends here: uvicorn, who cancels at the end of a stop, would log it as a crash
            await self._cut_off(exchange)
        except Exception:
            log.exception("request.failed", method=exchange.method, path=exchange.path, at_will=True)
            await apologise(exchange)
        finally:
            self.long_requests.end(exchange)
            exchange.forget()
            if span is not None:
                span.find_trace()
            self._count(exchange, monotonic_s() - began, span.trace_id if span is not None else 0)
            if span is not None:
                span.end(monotonic_s() - began)

    async def _cut_off(self, exchange: RequestContext) -> None:
        """End a request that was cancelled: because this proxy stops, or because its token counts no more."""
        revoked = self.long_requests.end(exchange)
        log.info("request.cut_off", path=exchange.path, reason="its token counts no more" if revoked else "stopping")
        if revoked and not exchange.started:
            await exchange.refuse(WRONG_TOKEN, UNAUTHORIZED)
        else:
            exchange.drop()

    def _count(self, exchange: RequestContext, seconds: float, trace_id: int) -> None:
        meter = self._meter.of(endpoint_of(exchange.method, exchange.path))
        meter.count(exchange.status, seconds, exchange.received_bytes, exchange.sent_bytes, trace_id)
        if self._answered is not None:
            self._answered(exchange_of(exchange, seconds))

    async def _answer(self, exchange: RequestContext) -> None:
        path = exchange.path
        if exchange.method == "OPTIONS":
            await preflight(exchange)
        elif is_page(path):
            await self._stories.results.page(exchange)
        elif not await self._admitted(exchange):
            await exchange.refuse(WRONG_TOKEN, UNAUTHORIZED)
        elif match := TASK.fullmatch(path):
            await self._about_task(exchange, TaskId(match[1]), match[2])
        else:
            await self._other(exchange, path)

    async def _about_task(self, exchange: RequestContext, task: TaskId, action: str) -> None:
        if is_download(exchange.method, action):
            self.long_requests.begin(exchange)
            await self._stories.results.download(exchange, task, action)
        else:
            await self._stories.polls.task(exchange, task, action)

    async def _other(self, exchange: RequestContext, path: str) -> None:
        is_post = exchange.method == "POST"
        if path == "/info":
            await self._stories.polls.info(exchange)
        elif is_post and (path.startswith(UPLOAD) or path == NEW):
            self.long_requests.begin(exchange)
            await self._upload(exchange)
        elif not (path.startswith(CREATING) and await self._stories.peers.took(exchange)):
            await self._answer_small(exchange)

    async def _upload(self, exchange: RequestContext) -> None:
        try:
            async with self.limiter:
                if exchange.path == NEW:
                    await self._stories.uploads.new(exchange)
                elif not await self._stories.peers.took(exchange):
                    await self._stories.uploads.upload(exchange)
        except ServerBusy as error:
            at_will.info("upload.refused", path=exchange.path, reason=error.message)
            await exchange.drain_after(error)
            await exchange.refuse(error.message, UNAVAILABLE)

    async def _admitted(self, exchange: RequestContext) -> bool:
        """Find out for whom a request speaks; whether it may go on. Raises ServerBusy when that cannot be said now."""
        if exchange.path in PUBLIC or (exchange.path == "/commit" and exchange.method == "POST"):
            return True
        if exchange.parameter("_debugUnauthorized"):
            return False
        given, checker = exchange.query.get("token", []), self._checker
        token = shown(given[0] if len(given) == 1 or (given and checker.open_to_all) else "")
        exchange.tenant = checker.known(token) or await checker.check(token)
        if exchange.tenant is None:
            return False
        tenant.set(exchange.tenant.account)
        if exchange.heard_tenant is not None:
            exchange.heard_tenant()
        return True

    async def _auth_info(self, exchange: RequestContext) -> None:
        await exchange.json(self._checker.auth_info())

    async def _answer_small(self, exchange: RequestContext) -> None:
        """Answer a request that is read as a whole; nobody when its client has gone, or has sent nothing for too long."""
        try:
            await self._answer_known(exchange)
        except (ClientGone, BodyStalled):
            exchange.drop()

    async def _answer_known(self, exchange: RequestContext) -> None:
        if exchange.path == INIT or exchange.path in ACTIONS:
            self.long_requests.begin(exchange)
        try:
            await self._handle_of(exchange)(exchange)
        except ClusterError as error:
            await refuse(exchange, error)

    def _handle_of(self, exchange: RequestContext) -> Handle:
        """Say who answers an address; of that of a commit only the beginning counts."""
        methods, handle = self._small.get(exchange.path, (frozenset[str](), unknown))
        if exchange.path.startswith(COMMIT):
            methods, handle = POST, self._stories.uploads.commit
        return handle if exchange.method in methods else unknown

    async def _health(self, exchange: RequestContext) -> None:
        well, said = self._stories.health.page(exchange.path) or (False, {})
        await exchange.json(said, OK if well else UNAVAILABLE)


def exchange_of(exchange: RequestContext, seconds: float) -> AnsweredRequest:
    """Say for the access log what came of a request."""
    scope = exchange.scope
    query: bytes = scope["query_string"]
    return AnsweredRequest(
        address=str((scope.get("client") or ("-",))[0]),
        method=exchange.method,
        target=scope["raw_path"] + (b"?" + query if query else b""),
        version=scope["http_version"],
        status=exchange.status,
        sent_bytes=exchange.sent_bytes,
        received_bytes=exchange.received_bytes,
        seconds=seconds,
        referer=exchange.header(b"referer") or b"",
        agent=exchange.header(b"user-agent") or b"",
        tenant=exchange.tenant.account if exchange.tenant else "",
        cause=cause.get(),
    )


def always(value: Any) -> Handle:
    """Answer the same to everybody."""

    async def answer(exchange: RequestContext) -> None:
        await exchange.json(value)

    return answer
