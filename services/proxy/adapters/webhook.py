"""Telling a client's own server that its task has ended. Implements ports.Webhook over httpx.

The URL is the client's and may hold a secret: no more of it than the host appears in an error.
The client, and the library with it, is there with the first webhook: most proxies never send one, and it costs megabytes.
"""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from services.proxy.ports import WebhookFailed

if TYPE_CHECKING:
    import httpx

TIMEOUT_S: Final = 10.0


class HttpWebhook:
    """Posts JSON over http and https; redirects are not followed."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Nothing is opened before it is needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        if self._http is not None:
            await self._http.aclose()

    async def post(self, url: str, body: bytes) -> None:
        """POST once."""
        import httpx

        host = host_of(url)
        if self._http is None:
            self._http = httpx.AsyncClient(follow_redirects=False, timeout=self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.post(url, content=body, headers={"Content-Type": "application/json"})
        except TimeoutError:
            raise WebhookFailed(f"{host} timed out") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise WebhookFailed(f"{host} did not answer ({type(error).__name__})") from None
        if not response.is_success:
            raise WebhookFailed(f"{host} answered with status {response.status_code}")


def host_of(url: str) -> str:
    """Say where it goes. Raises WebhookFailed for anything but http and https."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    else:
        if parts.scheme not in {"http", "https"}:
            host = None
    if not host:
        raise WebhookFailed("not an http or https address")
    return host
