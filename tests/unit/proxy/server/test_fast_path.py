"""What is read without a parser is read as the parser does; everything else is left to it."""

from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.tenancy import shown
from clusterodm.services.proxy.polling.handlers.coalesce import Poll
from clusterodm.services.proxy.server.fast_path import PlainPoll, PollFastPath
from clusterodm.services.proxy.tenants.adapters.local import EverybodyMayCome, OneToken

TASK = "aaaaaaaa-1111-4111-8111-111111111111"
HOST = "host: x\r\n"
SHORT_LINES = "".join(f"{number:02x}:\r\n" for number in range(256))
"""With that of the host one more than heads may have."""


def read(request: str, token: str = "") -> PlainPoll | None:
    """Read a request."""
    nobody: Any = None
    fast = PollFastPath(nobody, OneToken(token) if token else EverybodyMayCome())
    return fast.read(request.encode("latin-1"))


def about(line: int | None, *, output: bool = False) -> Poll:
    return Poll(TaskId(TASK), output=output, from_line=line)


@pytest.mark.parametrize(
    ("target", "question"),
    [
        pytest.param("/info", None, id="the cluster"),
        pytest.param(f"/task/{TASK}/info", about(None), id="a task"),
        pytest.param(f"/task/{TASK}/info?with_output=17", about(17), id="with its console from a line on"),
        pytest.param(f"/task/{TASK}/info?with_output=", about(0), id="with all of its console"),
        pytest.param(f"/task/{TASK}/output", about(0, output=True), id="its console"),
        pytest.param(f"/task/{TASK}/output?line=-3", about(-3, output=True), id="the end of its console"),
        pytest.param(f"/task/{TASK}/output?line=%32", about(2, output=True), id="encoded"),
    ],
)
def test_plain_polls_are_read(target: str, question: Poll | None) -> None:
    request = f"GET {target} HTTP/1.1\r\n{HOST}\r\n"
    assert read(request) == PlainPoll(question, shown(""), keeps=True, size_bytes=len(request))


@pytest.mark.parametrize(
    ("lines", "keeps"),
    [
        pytest.param("", True, id="says nothing"),
        pytest.param("Connection: Keep-Alive\r\n", True, id="keeps"),
        pytest.param("connection: CLOSE \r\n", False, id="closes"),
        pytest.param("user-agent: a: b\r\naccept: */*\r\nempty:\r\nconnection:close\r\n", False, id="among others"),
    ],
)
def test_whether_a_connection_goes_on_is_read(lines: str, keeps: bool) -> None:
    plain = read(f"GET /info HTTP/1.1\r\n{HOST}{lines}\r\n")

    assert plain is not None
    assert plain.keeps is keeps


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(f"HEAD /info HTTP/1.1\r\n{HOST}\r\n", id="another method"),
        pytest.param(f"GET /info HTTP/1.0\r\n{HOST}\r\n", id="another version"),
        pytest.param(f"GET /options HTTP/1.1\r\n{HOST}\r\n", id="another path"),
        pytest.param(f"GET /task/{TASK}/download/all.zip HTTP/1.1\r\n{HOST}\r\n", id="a download"),
        pytest.param(f"GET /task/list/info HTTP/1.1\r\n{HOST}\r\n", id="no task"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}", id="half a head"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}\r\nGET /info HTTP/1.1\r\n{HOST}\r\n", id="two requests"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}content-length: 0\r\n\r\n", id="a length"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n", id="a body"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}expect: 100-continue\r\n\r\n", id="an expectation"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}clusterodm-passed-on: x\r\n\r\n", id="one that was passed on"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}origin: http://a\r\n\r\n", id="an origin"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}connection: upgrade\r\n\r\n", id="another connection"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}connection: close\r\nconnection: close\r\n\r\n", id="a line twice"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}a: b\r\n c\r\n\r\n", id="a folded line"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}a : b\r\n\r\n", id="a space before the colon"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}a: \xe4\r\n\r\n", id="not ASCII"),
        pytest.param(f"GET /info HTTP/1.1\n{HOST}\n", id="bare line feeds"),
        pytest.param(f"GET /info?_debugUnauthorized=1 HTTP/1.1\r\n{HOST}\r\n", id="a strange parameter"),
        pytest.param(f"GET /info?token=a&token=b HTTP/1.1\r\n{HOST}\r\n", id="two tokens"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}a: {'b' * 3000}\r\n\r\n", id="a long head"),
        pytest.param(f"GET /info HTTP/1.1\r\n{HOST}{SHORT_LINES}\r\n", id="many lines"),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(request_: str) -> None:
    assert read(request_) is None


@pytest.mark.parametrize(
    ("query", "token", "is_read"),
    [
        pytest.param("", "sesame", False, id="none"),
        pytest.param("?token=wrong", "sesame", False, id="wrong"),
        pytest.param("?token=ses%61me", "sesame", True, id="right"),
        pytest.param("?token=mine", "", True, id="none is wanted"),
    ],
)
def test_a_wrong_token_is_refused_elsewhere(query: str, token: str, is_read: bool) -> None:
    nobody: Any = None
    checker = OneToken(token) if token else EverybodyMayCome()
    fast = PollFastPath(nobody, checker)
    plain = fast.read(f"GET /task/{TASK}/info{query} HTTP/1.1\r\n{HOST}\r\n".encode())
    assert plain is not None

    tenant = checker.known(plain.token)
    assert (tenant is not None) is is_read
    assert tenant is None or tenant.account == owner_of(token or "mine")
    if tenant is None:
        answers: list[bytes | None] = []
        assert fast.answer(plain, b"", lambda content, _=None: answers.append(content)) is None
        assert answers == [None]


class Parsed:
    """What httptools makes of a request."""

    def __init__(self) -> None:
        self.url, self.complete_count, self.headers = b"", 0, []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.complete_count += 1


TEXT = st.text(st.sampled_from("abcT -:/?=&%0\t\r\n,;_"), max_size=12)


@given(TEXT, st.lists(st.tuples(st.sampled_from(["a", "Connection", "Host", "x-y", "te", "b "]), TEXT), max_size=4))
def test_whatever_is_read_is_one_whole_request_to_the_parser_too(query: str, lines: list[tuple[str, str]]) -> None:
    request = (
        f"GET /info?token={query} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    )
    plain = read(request)
    if plain is None:
        return

    said = Parsed()
    parser = httptools.HttpRequestParser(said)
    parser.feed_data(request.encode())

    assert said.complete_count == 1
    assert said.url == f"/info?token={query}".encode()
    assert len(said.headers) == len(lines)
    assert parser.should_keep_alive() is plain.keeps


def test_the_beginning_of_an_upload_is_not_remembered() -> None:
    nobody: Any = None
    quick = PollFastPath(nobody, EverybodyMayCome())
    for data in (b"POST /task/new HTTP/1.1\r\n\r\nphoto", b"GET /" + b"x" * 5_000, b"\xff\xd8 the middle of a photo"):
        assert quick.read(data) is None
    assert quick._remembered.cache_info().currsize == 0  # type: ignore[attr-defined]
