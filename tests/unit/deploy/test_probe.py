"""The health check of a container asks its service in the way in which that listens."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from clusterodm.deploy.probe import main


class Well(BaseHTTPRequestHandler):
    """Says that all is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep still."""


@pytest.fixture
def plain_port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Well)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        pytest.param({}, 0, id="without TLS"),
        pytest.param({"SSL_KEY": "key.pem", "SECURE_PORT": "3443"}, 0, id="TLS has a port of its own"),
        pytest.param({"SSL_KEY": "key.pem"}, 1, id="TLS on the only port"),
        pytest.param({"SSL_KEY": "key.pem", "SECURE_PORT": "0"}, 1, id="the other port is off"),
    ],
)
def test_a_proxy_is_asked_over_tls_only_where_its_port_speaks_it(
    settings: dict[str, str], code: int, plain_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**settings, "BIND": "127.0.0.1", "PORT": str(plain_port)}.items():
        monkeypatch.setenv(f"CLUSTERODM_{name}", value)
    assert main(["proxy"]) == code
