"""Counts requests. One is a handful of additions, for polls come in thousands a second: nothing here allocates once an endpoint is known."""

from typing import Final

from clusterodm.services.proxy.metrics import HTTP_RECEIVED, HTTP_REQUESTS, HTTP_SECONDS, HTTP_SENT

DROPPED: Final = 0
"""The status of a request whose connection was closed instead of an answer."""


class EndpointMeter:
    """The requests to one endpoint."""

    __slots__ = ("_codes", "_endpoint", "_key", "_seconds")

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._key = (endpoint,)
        self._codes: dict[int, tuple[str, str]] = {}
        self._seconds = HTTP_SECONDS.of(endpoint)
        HTTP_RECEIVED.inc(endpoint, by=0)
        HTTP_SENT.inc(endpoint, by=0)

    def count(self, status: int, seconds: float, received_bytes: int, sent_bytes: int, trace_id: int = 0) -> None:
        """Count one request. `trace_id`: of which trace; 0: of none."""
        key = self._codes.get(status)
        if key is None:
            key = self._codes[status] = (self._endpoint, "dropped" if status == DROPPED else str(status))
            HTTP_REQUESTS.inc(*key, by=0)
        HTTP_REQUESTS.values[key] += 1
        HTTP_RECEIVED.values[self._key] += received_bytes
        HTTP_SENT.values[self._key] += sent_bytes
        self._seconds.observe(seconds, trace_id)


class RequestMeter:
    """The requests to all endpoints."""

    def __init__(self) -> None:
        self._meters: dict[str, EndpointMeter] = {}

    def of(self, endpoint: str) -> EndpointMeter:
        """Find that of one endpoint, by its template."""
        meter = self._meters.get(endpoint)
        if meter is None:
            meter = self._meters[endpoint] = EndpointMeter(endpoint)
        return meter
