"""Where spans go: the address of a collector, as a flag or OpenTelemetry's own variables have it."""

import os
from typing import Final
from urllib.parse import urlsplit

from clusterodm.libs.common.settings.addresses import server_url

TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
ANY_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


def collector(url: str) -> str:
    """Read where a collector is; without a path it is where OTLP has traces. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or server_url(url) is None:
        raise ValueError("a collector is http://HOST:PORT or https://HOST:PORT, for example http://localhost:4318")
    return url if parts.path.strip("/") else parts._replace(path="/v1/traces").geturl()


def collector_of_environment() -> str:
    """Read where OpenTelemetry's own variables have a collector; empty: they name none. Raises ValueError."""
    for name in (TRACES_ENDPOINT, ANY_ENDPOINT):
        if url := os.environ.get(name, ""):
            try:
                found = collector(url)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            return url if name == TRACES_ENDPOINT else found
    return ""
