"""A collector that takes OTLP over HTTP, as protobuf, and keeps what it was sent. It reads with OpenTelemetry's own messages."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Seen(NamedTuple):
    """A span that came."""

    name: str
    service: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    begin_ns: int
    end_ns: int
    attributes: dict[str, str | int]

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return (self.end_ns - self.begin_ns) / 1e9


class OTLPCollector:
    """On a free port of loopback."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.content = b""
        """All that came, as it came."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
                right = (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
                if right:
                    collector.take(body)
                self.send_response(200 if right else 400)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Answer."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        """Read what was sent. Raises DecodeError."""
        self.content += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for span in (each for scope in resource.scope_spans for each in scope.spans):
                attributes = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
                self.spans.append(
                    Seen(
                        span.name,
                        about["service.name"],
                        span.trace_id,
                        span.span_id,
                        span.parent_span_id,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        attributes,
                    )
                )

    def of_task(self, task: str) -> dict[str, Seen]:
        """Find all spans of the trace of a task, the last of each name."""
        spans = list(self.spans)
        traces = {each.trace_id for each in spans if each.attributes.get("clusterodm.task.id") == task}
        return {each.name: each for each in spans if each.trace_id in traces}
