"""Faults between a provider and an HTTP API: a relay on loopback that the provider takes for the API.

It passes requests on as they are, `Host` included, so that an API whose answers name further addresses (OpenStack's catalog) names
the relay. What a request is (`Step`) its method says, unless the trial knows better.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import httpx
import uvicorn

from clusterodm.contract.failures import ALWAYS, CARRIED_OUT, USUAL_WORDS, FaultPlan, How, Step, Words

LOOPBACK: Final = "127.0.0.1"
LONGEST_S: Final = 60.0
NOT_PASSED_ON: Final = frozenset(
    ("connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding")
)
BREAKING_OFF: Final = [(b"content-type", b"application/json"), (b"content-length", b"100000")]
STEPS: Final = {"POST": Step.CREATE, "GET": Step.LIST, "DELETE": Step.REMOVE}

Request = tuple[str, str, bytes]
"""Method, path, body."""


def step_of(method: str, _path: str, _body: bytes) -> Step:
    """Say what a request is where the method says it."""
    return STEPS.get(method, Step.OTHER)


class HttpFaults:
    """A relay; it listens at `url`."""

    def __init__(
        self, upstream: str, words: Mapping[How, Words], steps: Callable[[str, str, bytes], Step] = step_of
    ) -> None:
        self.url = ""
        self.seen: list[tuple[Step, How | None]] = []
        self._plan = FaultPlan()
        self._upstream = upstream.rstrip("/")
        self._words = {**USUAL_WORDS, **words}
        self._steps = steps
        self._client = httpx.AsyncClient(timeout=LONGEST_S, trust_env=False)
        self._cleared = asyncio.Event()

    def __repr__(self) -> str:
        """Show the way."""
        return f"HttpFaults({self.url} -> {self._upstream})"

    def plan(self, step: Step, how: How, times: int = ALWAYS) -> None:
        """See failures.Faults."""
        self._plan.plan(step, how, times)

    def cut_after(self, calls_count: int) -> None:
        """See failures.Faults."""
        self._plan.cut_after(calls_count)

    def clear(self) -> None:
        """See failures.Faults."""
        self._plan.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    async def close(self) -> None:
        """Let go of whoever still waits for an answer."""
        self.clear()
        await self._client.aclose()

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Serve one request (ASGI)."""
        body = await whole(receive)
        step = self._steps(scope["method"], scope["path"], body)
        how = self._plan.take(step)
        self.seen.append((step, how))
        if how is How.SLOW:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_S):
                    await self._cleared.wait()
        answer = await self._passed_on(scope, body) if how is None or how in CARRIED_OUT else None
        if how in {How.BROKEN, How.SLOW, How.LOST}:
            await break_off(send)
        elif how is None and answer is not None:
            await say(send, answer.status_code, answer.headers.multi_items(), answer.content)
        elif how is not None:
            words = self._words[how]
            await say(send, words.status, list(words.headers.items()), words.body)

    async def _passed_on(self, scope: Mapping[str, Any], body: bytes) -> httpx.Response:
        query = scope["query_string"].decode()
        path = (scope.get("raw_path") or scope["path"].encode()).decode()
        headers = [(name, value.strip()) for name, value in scope["headers"] if name.decode() not in NOT_PASSED_ON]
        url = f"{self._upstream}{path}{'?' if query else ''}{query}"
        request = self._client.build_request(scope["method"], url, headers=headers, content=body)
        return await self._client.send(request)


async def whole(receive: Any) -> bytes:
    """Read the body of a request."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def say(send: Any, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Answer."""
    kept = [(name.encode(), value.encode()) for name, value in headers if name.lower() not in NOT_PASSED_ON]
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*kept, *length]})
    await send({"type": "http.response.body", "body": body})


async def break_off(send: Any) -> None:
    """Begin an answer and never end it: the server closes the connection."""
    await send({"type": "http.response.start", "status": 200, "headers": BREAKING_OFF})
    await send({"type": "http.response.body", "body": b"{", "more_body": False})


class RelayServer(uvicorn.Server):
    """Leaves the signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@contextlib.asynccontextmanager
async def http_faults(
    upstream: str,
    words: Mapping[How, Words] | None = None,
    steps: Callable[[str, str, bytes], Step] = step_of,
) -> AsyncIterator[HttpFaults]:
    """Stand before an API. `words`: how it says that there is no room, that a quota is reached, and what is not as usual."""
    faults = HttpFaults(upstream, words or {}, steps)
    with socket.create_server((LOOPBACK, 0)) as listener:
        faults.url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            faults, lifespan="off", log_config=None, access_log=False, interface="asgi3", timeout_graceful_shutdown=1
        )
        server = RelayServer(config)
        async with asyncio.TaskGroup() as loops:
            loops.create_task(server.serve(sockets=[listener]), name="relay")
            try:
                yield faults
            finally:
                await faults.close()
                server.should_exit = server.force_exit = True
