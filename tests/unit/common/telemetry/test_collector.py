"""A collector that is hostile, or broken in any way, costs its own spans and nothing else: no time of the service, no memory."""

import contextlib
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from clusterodm.libs.common.telemetry.collector import CONNECT_S, bounded_session
from tests.otlp_collector import OTLPCollector

ANSWER_S = 0.4
HEAD = b"HTTP/1.1 200 OK\r\n"
Act = Callable[[socket.socket], None]


def again_and_again(*said: bytes, first: bytes = b"", pause_s: float = 0.0) -> Act:
    """Say the same without end."""

    def act(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            for each in said:
                connection.sendall(each)
                time.sleep(pause_s)

    return act


def silent(connection: socket.socket) -> None:
    """Read, and answer nothing."""
    while connection.recv(65536):
        pass


@contextmanager
def collector(act: Act, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answer each request so."""

    def answer(connection: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            connection,
            tls.wrap_socket(connection, server_side=True) if tls else connection as spoken,
        ):
            spoken.recv(65536)
            act(spoken)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http{'s' if tls else ''}://localhost:{listener.getsockname()[1]}/v1/traces"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(silent, id="hangs"),
        pytest.param(again_and_again(b"\x00\xffnonsense\r\n" * 1000), id="garbage"),
        pytest.param(again_and_again(b"x" * 65536, first=b"HTTP/1.1 200 "), id="a status without end"),
        pytest.param(again_and_again(b"a: " + b"b" * 60_000 + b"\r\n", first=HEAD), id="a head without end"),
        pytest.param(again_and_again(b"H", first=HEAD, pause_s=0.05), id="a head that drips"),
        pytest.param(again_and_again(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), id="interim answers without end"),
    ],
)
def test_an_answer_that_never_comes_is_given_up_in_time(act: Act) -> None:
    began, memory_kb = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with collector(act) as url, pytest.raises(requests.RequestException):
        bounded_session(ANSWER_S).request("POST", url, data=b"spans", timeout=60)
    assert time.monotonic() - began < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < 30_000


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(silent, id="hangs"),
        pytest.param(again_and_again(b"\x02", first=b"\x16\x03\x03\x40\x00", pause_s=0.05), id="drips"),
        pytest.param(again_and_again(b"\x14\x03\x03\x00\x01\x01" * 1000), id="goes on for ever"),
    ],
)
def test_a_handshake_that_never_ends_is_given_up_in_time(act: Act) -> None:
    began = time.monotonic()
    with collector(act) as url, pytest.raises(requests.RequestException):
        bounded_session(ANSWER_S).request("POST", url.replace("http:", "https:"), data=b"spans", timeout=ANSWER_S)
    assert time.monotonic() - began < 15


def test_who_gives_no_time_has_one_all_the_same() -> None:
    session, given = bounded_session(ANSWER_S), []

    class Adapter(requests.adapters.BaseAdapter):
        def send(self, request: requests.PreparedRequest, **named: Any) -> requests.Response:
            del request
            given.append(named["timeout"])
            raise requests.ConnectionError

    session.mount("http://", Adapter())
    with pytest.raises(requests.ConnectionError):
        session.request("POST", "http://localhost/v1/traces", data=b"spans")
    assert given == [CONNECT_S]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(HEAD + b"\r\n", id="until the end"),
        pytest.param(HEAD + b"content-length: 100000000000\r\n\r\n", id="as announced"),
        pytest.param(
            HEAD + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n", id="in a chunk"
        ),
    ],
)
def test_a_body_without_end_is_not_read(head: bytes) -> None:
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with collector(again_and_again(b"x" * 1_000_000, first=head)) as url:
        response = bounded_session().request("POST", url, data=b"spans", timeout=60)
    assert (response.status_code, response.content) == (200, b"")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < 30_000


def test_a_redirect_leads_nowhere() -> None:
    with OTLPCollector() as elsewhere:
        moved = b"HTTP/1.1 307 Moved\r\nlocation: %s/v1/traces\r\ncontent-length: 0\r\n\r\n" % elsewhere.url.encode()
        with collector(lambda connection: connection.sendall(moved)) as url:
            response = bounded_session().request("POST", url, data=b"spans", timeout=60)
    assert response.status_code == 307
    assert elsewhere.content == b""


def test_over_tls_it_is_the_same(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with collector(silent, context) as url, pytest.raises(requests.RequestException):
        bounded_session(ANSWER_S).request("POST", url, data=b"spans", timeout=5, verify=str(tmp_path / "ca"))
    good = again_and_again(b"x" * 100_000, first=HEAD + b"\r\n")
    with collector(good, context) as url:
        response = bounded_session().request("POST", url, data=b"spans", timeout=5, verify=str(tmp_path / "ca"))
    assert response.status_code == 200
