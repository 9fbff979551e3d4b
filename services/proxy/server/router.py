"""The front door: one raw ASGI callable. It checks the token and sends each request where it belongs.

That is: to the proxy that holds its upload (passing), to a hot path, or to the rare ones.

Without token, also where one is set: preflight requests, the pages of the web interface, /auth/*, /healthz, /readyz; a node's
POST /commit and a machine's /machine/lease, which have secrets of their own. A wrong token is 401 (PyODM: "Do you need to set a token?") with
NodeODM's words, which its page shows.
"""

import asyncio
import hmac
import re
from typing import Final

import structlog

from libs.common.http_scope import Message, Receive, Scope, Send
from libs.common.model import TaskId
from libs.http1.lines import Header
from services.proxy.errors import Busy
from services.proxy.exchange.limits import Bounds, Gate
from services.proxy.exchange.nodeodm_api import WRONG_TOKEN, is_page
from services.proxy.exchange.request import UNAVAILABLE, BodyStalled, ClientGone, Exchange
from services.proxy.peers.api import UPLOAD, Passing
from services.proxy.server.fast_path import Quick
from services.proxy.server.form_routes import Parts, build
from services.proxy.server.streaming_routes import HotPaths

log = structlog.get_logger()

TASK: Final = re.compile(r"/task/(\w+-\w+-\w+-\w+-\w+)/(.+)", re.ASCII)

PUBLIC: Final = frozenset(("/auth/info", "/auth/login", "/auth/register", "/healthz", "/readyz", "/machine/lease"))

CREATING: Final = "/task/new/"

NEW: Final = "/task/new"

NO_CONTENT: Final = 204

UNAUTHORIZED: Final = 401

FAILED: Final = 500


class App:
    """Everything that the public port answers."""

    def __init__(  # noqa: PLR0913, PLR0917 what stands behind the door
        self, hot: HotPaths, quick: Quick, rare: Parts, passing: Passing, gate: Gate, bounds: Bounds, token: str
    ) -> None:
        self.quick = quick
        """What answers before a request comes here."""
        self._hot = hot
        self._passing = passing
        self._gate = gate
        self._bounds = bounds
        self._rare = build(rare)
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or end its connection; never neither."""
        exchange = Exchange(scope, receive, send, self._bounds)
        try:
            await self._answer(exchange)
        except ClientGone:
            log.debug("client left", path=exchange.path)
        except BodyStalled:
            log.info("body stalled", path=exchange.path)
            exchange.drop()
        except asyncio.CancelledError:  # ends here: uvicorn, who cancels at the end of a stop, would log it as a crash
            log.info("request cut off by the stop", path=exchange.path)
            exchange.drop()
        except Exception:
            log.exception("request failed", method=exchange.method, path=exchange.path)
            await apologise(exchange)
        finally:
            exchange.forget()

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.path
        if exchange.method == "OPTIONS":
            await preflight(exchange)
        elif is_page(path):
            await self._hot.page(exchange)
        elif not self._admitted(exchange):
            await exchange.refuse(WRONG_TOKEN, UNAUTHORIZED)
        elif match := TASK.fullmatch(path):
            await self._hot.task(exchange, TaskId(match[1]), match[2])
        else:
            await self._other(exchange, path)

    async def _other(self, exchange: Exchange, path: str) -> None:
        is_post = exchange.method == "POST"
        if path == "/info":
            await self._hot.info(exchange)
        elif is_post and (path.startswith(UPLOAD) or path == NEW):
            await self._upload(exchange)
        elif not (path.startswith(CREATING) and await self._passing.took(exchange)):
            await self._pass_to_rare(exchange)

    async def _upload(self, exchange: Exchange) -> None:
        try:
            async with self._gate.passed():
                if exchange.path == NEW:
                    await self._hot.new(exchange)
                elif not await self._passing.took(exchange):
                    await self._hot.upload(exchange)
        except Busy as error:
            log.info("upload refused", path=exchange.path, reason=error.message)
            await exchange.drain()
            await exchange.refuse(error.message, UNAVAILABLE)

    def _admitted(self, exchange: Exchange) -> bool:
        if exchange.path in PUBLIC or (exchange.path == "/commit" and exchange.method == "POST"):
            return True
        if exchange.parameter("_debugUnauthorized"):
            return False
        if not self._token:
            return True
        given = exchange.query.get("token", ())
        return len(given) == 1 and hmac.compare_digest(given[0].encode(), self._token)

    async def _pass_to_rare(self, exchange: Exchange) -> None:
        cors = exchange.cors()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.started = True
                message["headers"] = [*message["headers"], *cors]
            await exchange.send(message)

        exchange.scope.setdefault("state", {})["exchange"] = exchange
        await self._rare(exchange.scope, exchange.receive, send)


async def preflight(exchange: Exchange) -> None:
    """Answer what a browser asks before it asks: any method and header may come from anywhere."""
    wanted_method = exchange.header(b"access-control-request-method") or b"GET, HEAD, POST, OPTIONS"
    headers: list[Header] = [(b"access-control-allow-methods", wanted_method)]
    if wanted_headers := exchange.header(b"access-control-request-headers"):
        headers.append((b"access-control-allow-headers", wanted_headers))
    headers.append((b"access-control-max-age", b"600"))
    await exchange.empty(NO_CONTENT, headers)


async def apologise(exchange: Exchange) -> None:
    """End a request that failed by our own fault: a poll is never told of it, and half an answer is never left open."""
    if exchange.started or TASK.fullmatch(exchange.path):
        exchange.drop()
    else:
        await exchange.refuse("Internal error", FAILED)
