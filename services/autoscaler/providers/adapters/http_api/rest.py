"""The way to a provider's HTTP API: one call, its time limit, and what its failure means for the next try.

What must live here: everything that is the same for every HTTP API. What must not: any provider's paths or words; each
hands in how its error bodies read (`Judge`).

Whether a call may have been carried out is decided here, and carefully. A call that was never sent (no connection), or
was answered with a refusal, has done nothing. One that was sent and not answered, or answered with a 5xx, may have done
its work: for a call that creates something (`creates=True`) that is UNKNOWN_OUTCOME, for all others RETRYABLE, because
reading and destroying can simply be done again. "Too many requests" is waited for as the answer asks, within limits.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeVar

import httpx

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.untrusted import decode_any_json
from clusterodm.services.autoscaler.orders import masked

ANSWER_LIMIT_BYTES: Final = 16 * 1024 * 1024
FRAMING: Final = frozenset(("content-encoding", "content-length", "transfer-encoding"))
"""What a body that has been read and unpacked has no more."""
TIMEOUT_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 10.0
TOO_MANY: Final = 429
RETRIES_COUNT: Final = 2
LONGEST_PAUSE_S: Final = 20.0
"""A longer `Retry-After` is the caller's to wait for."""
USUAL_PAUSE_S: Final = 1.0
LONGEST_MESSAGE: Final = 300
LISTINGS_COUNT: Final = 3
"""How often a list that changes under our hands is read again."""

Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class ApiAnswer:
    """An answer below 400."""

    status: int
    content: Any
    headers: Mapping[str, str]


Judge = Callable[[int, Any], tuple[Trouble | None, str]]
"""Reads an error's status and body: what it means (None: what its status usually means) and the provider's words."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a list."""

    items: Sequence[Any]
    total_count: int
    last: bool


class RestClient:
    """One provider's API."""

    def __init__(  # noqa: PLR0913 - what differs from API to API
        self,
        provider: str,
        url: str,
        *,
        judge: Judge,
        headers: Mapping[str, Secret] | None = None,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._provider = provider
        self._judge = judge
        self._secrets = tuple((headers or {}).values())
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            headers={name: secret.reveal() for name, secret in (headers or {}).items()},
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, **params: str | int) -> Any:
        """Read; the decoded body. Raises ProviderFailed."""
        return (await self.call("GET", path, params=params)).content

    async def find(self, path: str, **params: str | int) -> Any | None:
        """Read what may not be there: None for "not found". Raises ProviderFailed."""
        answer = await self.call("GET", path, params=params, missing_ok=True)
        return None if answer.status == httpx.codes.NOT_FOUND else answer.content

    async def delete(self, path: str, **params: str | int) -> None:
        """Delete; what is not there is deleted already. Raises ProviderFailed."""
        await self.call("DELETE", path, params=params, missing_ok=True)

    async def call(  # noqa: PLR0913 - one door for everything that HTTP can say
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
        text: str | None = None,
        headers: Mapping[str, str] | None = None,
        creates: bool = False,
        missing_ok: bool = False,
        as_text: bool = False,
        first_bytes: int | None = None,
        timeout_s: float | None = None,
    ) -> ApiAnswer:
        """Call once, and again when told to slow down. Raises ProviderFailed.

        `as_text`: the answer is no JSON; `first_bytes`: it is bytes, and no more of them are read.
        """
        request = self._client.build_request(
            method,
            self.url + path,
            params=dict(params) if params else None,
            json=body,
            content=text.encode() if text is not None else None,
            headers=dict(headers or {}) | ({"Content-Type": "text/plain"} if text is not None else {}),
            timeout=timeout_s or self._timeout_s,
        )
        limit_s = 2 * (timeout_s or self._timeout_s)
        answer = await self._with_retries(request, creates=creates, limit_s=limit_s, first_bytes=first_bytes)
        if answer.is_success or (missing_ok and answer.status_code == httpx.codes.NOT_FOUND):
            content: Any = answer.text if as_text else answer.content if first_bytes else self._decoded(answer, creates)
            return ApiAnswer(status=answer.status_code, content=content, headers=answer.headers)
        raise self._failure(answer, creates=creates)

    async def _with_retries(
        self, request: httpx.Request, *, creates: bool, limit_s: float, first_bytes: int | None
    ) -> httpx.Response:
        for _ in range(RETRIES_COUNT):
            answer = await self._once(request, creates=creates, limit_s=limit_s, first_bytes=first_bytes)
            if answer.status_code != TOO_MANY or pause_s(answer.headers) > LONGEST_PAUSE_S:
                return answer
            await asyncio.sleep(pause_s(answer.headers))
        return await self._once(request, creates=creates, limit_s=limit_s, first_bytes=first_bytes)

    async def _once(
        self, request: httpx.Request, *, creates: bool, limit_s: float, first_bytes: int | None
    ) -> httpx.Response:
        unanswered = Trouble.unanswered(creates=creates)
        try:
            async with asyncio.timeout(limit_s):
                return await whole(await self._client.send(request, stream=True), first_bytes)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._failed(request, f"no connection ({type(error).__name__})", Trouble.RETRYABLE) from None
        except (httpx.TimeoutException, TimeoutError):
            raise self._failed(request, "no answer in time", unanswered) from None
        except httpx.HTTPError as error:
            raise self._failed(request, f"the answer broke off ({type(error).__name__})", unanswered) from None

    def _decoded(self, answer: httpx.Response, creates: bool) -> Any:
        if not answer.content:
            return None
        try:
            return decode_any_json(answer.content, limit_bytes=ANSWER_LIMIT_BYTES)
        except ValueError:
            trouble = Trouble.unanswered(creates=creates)
            raise self._failed(answer.request, "the answer is not JSON", trouble) from None

    def _failure(self, answer: httpx.Response, *, creates: bool) -> ProviderFailed:
        try:
            content = decode_any_json(answer.content, limit_bytes=ANSWER_LIMIT_BYTES)
        except ValueError:
            content = None
        trouble, words = self._judge(answer.status_code, content)
        sentence = f"{answer.status_code} {words or answer.reason_phrase}".strip()
        return self._failed(answer.request, sentence, trouble or usual_trouble(answer.status_code, creates=creates))

    def _failed(self, request: httpx.Request, sentence: str, trouble: Trouble) -> ProviderFailed:
        words = masked(sentence, self._secrets)[:LONGEST_MESSAGE]
        return ProviderFailed(f"{self._provider}: {request.method} {request.url.path}: {words}", trouble)


def usual_trouble(status: int, *, creates: bool = False) -> Trouble:
    """Say what a status means when the body says no more."""
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return Trouble.UNAUTHORISED
    if status in {TOO_MANY, httpx.codes.LOCKED, httpx.codes.CONFLICT}:
        return Trouble.RETRYABLE
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Trouble.unanswered(creates=creates)
    return Trouble.REFUSED


def pause_s(headers: Mapping[str, str]) -> float:
    """Read how long to wait after "too many requests"; a date, or nothing, is the usual pause."""
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return USUAL_PAUSE_S


async def everything(page: Callable[[int], Awaitable[Page]]) -> Sequence[Any]:
    """Read all pages of a list, from page 1; once more when its length changed meanwhile: something may have slipped."""
    items: list[Any] = []
    for _ in range(LISTINGS_COUNT):
        pages = [each async for each in pages_of(page)]
        items = [item for each in pages for item in each.items]
        if len({each.total_count for each in pages}) == 1 and len(items) == pages[0].total_count:
            break
    return items


async def together(calls: Iterable[Coroutine[Any, Any, Kind]]) -> list[Kind]:
    """Make calls at the same time; the first failure ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as failures:
        raise first_of(failures) from None
    return [each.result() for each in running]


def first_of(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Take one failure out of several."""
    first = failures.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def pages_of(page: Callable[[int], Awaitable[Page]]) -> AsyncIterator[Page]:
    """Read page after page until the last."""
    number = 1
    while True:
        found = await page(number)
        yield found
        if found.last or not found.items:
            return
        number += 1


def words_of(content: Any, *keys: str) -> list[str]:
    """Read texts from a JSON object; empty ones where it has none, or is none."""
    found = content if isinstance(content, Mapping) else {}
    return [str(found.get(key) or "") for key in keys]


def moment_ms(text: object) -> int:
    """Read a moment as APIs write it (ISO 8601), in milliseconds since 1970; 0: there is none, or it is none."""
    try:
        found = datetime.fromisoformat(str(text or ""))
    except ValueError:
        return 0
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def with_prefix(items: Iterable[Any], prefix: str) -> list[Any]:
    """Keep the objects whose name begins so."""
    return [item for item in items if str(item.get("name", "")).startswith(prefix)]


async def whole(answer: httpx.Response, first_bytes: int | None = None) -> httpx.Response:
    """Read an answer as it comes, unpacked, and no further than any answer is long. Raises httpx.HTTPError.

    `first_bytes`: what is longer than that is read no further, and is no mistake.
    """
    pieces: list[bytes] = []
    room_bytes = ANSWER_LIMIT_BYTES if first_bytes is None else first_bytes
    try:
        async for piece in answer.aiter_bytes():
            pieces.append(piece)
            room_bytes -= len(piece)
            if room_bytes < 0 and first_bytes is not None:
                break
            if room_bytes < 0:
                raise httpx.ReadError("longer than any answer")
    finally:
        await answer.aclose()
    lines = [(name, value) for name, value in answer.headers.multi_items() if name.lower() not in FRAMING]
    phrase = {"reason_phrase": answer.reason_phrase.encode("ascii", "replace")}
    return httpx.Response(
        answer.status_code,
        headers=lines,
        content=b"".join(pieces)[:first_bytes],
        request=answer.request,
        extensions=phrase,
    )
