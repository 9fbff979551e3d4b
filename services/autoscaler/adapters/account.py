"""What the vendors with an HTTP API have in common: an account is an open way to it (`Rest`), closed at the end."""

from types import TracebackType
from typing import Self

import httpx

from libs.common.secret import Secret
from services.autoscaler.adapters.rest import Judge, Rest
from services.autoscaler.core.configuration import Cloud
from services.autoscaler.core.orders import Found, Order
from services.autoscaler.core.secrets import NO_SECRET


class Account:
    """The part of booted.Vendor that is the same whatever the API."""

    def __init__(self, cloud: Cloud, rest: Rest) -> None:
        self._cloud = cloud
        self._rest = rest

    def __repr__(self) -> str:
        """Show the address."""
        return f"{type(self).__name__}({self._rest.url})"

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close."""
        await self._rest.__aexit__(kind, error, at)

    async def resume(self, order: Order, found: Found) -> Found:
        """See booted.Vendor: where creating is one call, nothing is left to do."""
        _ = order
        return found


def with_bearer(  # noqa: PLR0913 - what differs from API to API
    provider: str,
    url: str,
    cloud: Cloud,
    key: str,
    *,
    judge: Judge,
    timeout_s: float,
    transport: httpx.AsyncBaseTransport | None,
) -> Rest:
    """Make the way to an API that takes one of the configuration's keys as a bearer token."""
    token = cloud.keys.get(key, NO_SECRET)
    headers = {"Authorization": Secret(f"Bearer {token.reveal()}")}
    return Rest(provider, cloud.endpoint or url, judge=judge, headers=headers, timeout_s=timeout_s, transport=transport)
