"""What is read of an upload without a parser is read as the parser does; everything else, and all that is refused, is left to it."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.tenancy import ShownToken, Tenant, shown
from clusterodm.libs.http1.heads import HeadLimits, HeadReader
from clusterodm.libs.http1.lines import BadMessage, find
from clusterodm.services.proxy.exchange.limits import BodyLimits, UploadLimiter
from clusterodm.services.proxy.server.fast_uploads import FILES_COUNT, UploadFastPath
from clusterodm.services.proxy.server.meter import RequestMeter
from clusterodm.services.proxy.tenants.adapters.local import EverybodyMayCome, OneToken
from clusterodm.services.proxy.tenants.ports import TokenChecker
from clusterodm.services.proxy.uploads.handlers.whole import WholeUploadEnded

TASK: Final = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
TYPE: Final = "Content-Type: multipart/form-data; boundary=Xx-1\r\n"
KEPT: Final = "host: x\r\n" + TYPE


class FakeUploads:
    """Takes uploads, or refuses them."""

    def __init__(self) -> None:
        self.refuses = False
        self.taken: list[tuple[TaskId, list[tuple[str, bytes]], int, WholeUploadEnded]] = []

    def upload(
        self, tenant: Tenant, task: TaskId, files: list[tuple[str, bytes]], expected_bytes: int, ended: WholeUploadEnded
    ) -> None:
        if self.refuses:
            raise NotFound(tenant.name)
        self.taken.append((task, files, expected_bytes, ended))


class Place:
    """A fast path with everything around it."""

    def __init__(self, checker: TokenChecker | None = None, *, limit_bytes: int = 0, uploads_count: int = 9) -> None:
        self.uploads: Any = FakeUploads()
        self.limiter = UploadLimiter(uploads_count, 1.0)
        bounds = BodyLimits(body_bytes=limit_bytes)
        self.fast = UploadFastPath(self.uploads, self.limiter, bounds, checker or EverybodyMayCome(), RequestMeter())
        self.answers: list[bytes | None] = []

    def take(self, content: bytes | None, behind: Any = None) -> None:
        assert behind is None
        self.answers.append(content)

    def send(self, request: bytes) -> None:
        """Let all of a request come."""
        plain = self.fast.read(request)
        assert plain is not None
        self.fast.answer(plain, request, self.take)


BODY: Final = b'--Xx-1\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\nphoto\r\n--Xx-1--\r\n'


def head(lines: str = KEPT, *, length: str = "5", query: str = "") -> bytes:
    """Write the head of a request."""
    begin = f"POST /task/new/upload/{TASK}{query} HTTP/1.1\r\n{lines}content-length: {length}\r\n\r\n"
    return begin.encode("latin-1")


PHOTO: Final = head(length=str(len(BODY))) + BODY


@pytest.mark.parametrize("came", [b"", b"ph", b"photo", b"photo and the next request"])
def test_a_head_is_read_whatever_has_come_behind_it(came: bytes) -> None:
    plain = Place().fast.read(head() + came)

    assert plain is not None
    assert (plain.task, plain.boundary, plain.keeps, plain.token) == (TASK, b"Xx-1", True, shown(""))
    assert (plain.head_bytes, plain.size_bytes) == (len(head()), len(head()) + 5)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(head()[:-1], id="half a head"),
        pytest.param(head().replace(b"POST", b"PUT"), id="another method"),
        pytest.param(head().replace(b"1.1", b"1.0"), id="another version"),
        pytest.param(head().replace(b"upload", b"commit"), id="another path"),
        pytest.param(head().replace(b"host: x\r\n", b""), id="no host"),
        pytest.param(head(KEPT + "transfer-encoding: chunked\r\n"), id="a coding"),
        pytest.param(head(KEPT + "expect: 100-continue\r\n"), id="an expectation"),
        pytest.param(head(KEPT + "upgrade: h2c\r\n"), id="an offer"),
        pytest.param(head(KEPT + "origin: http://a\r\n"), id="an origin"),
        pytest.param(head(KEPT + "te: trailers\r\n"), id="trailers"),
        pytest.param(head(KEPT + "clusterodm-passed-on: x\r\n"), id="passed on"),
        pytest.param(head(KEPT + "connection: upgrade\r\n"), id="another connection"),
        pytest.param(head(KEPT + TYPE), id="a line twice"),
        pytest.param(head(KEPT + "a: b\r\n c\r\n"), id="a folded line"),
        pytest.param(head(KEPT + "a: \xe4\r\n"), id="not ASCII"),
        pytest.param(head(KEPT + f"a: {'b' * 3000}\r\n"), id="a long head"),
        pytest.param(head(KEPT + "".join(f"{number:02x}:\r\n" for number in range(256))), id="many lines"),
        pytest.param(head("host: x\r\n"), id="no type"),
        pytest.param(head("host: x\r\ncontent-type: text/plain\r\n"), id="another type"),
        pytest.param(head("host: x\r\ncontent-type: multipart/form-data\r\n"), id="no boundary"),
        pytest.param(head("host: x\r\ncontent-type: multipart/form-data; boundary=a; boundary=b\r\n"), id="two of them"),
        *(pytest.param(head(length=each), id=f"length {each!r}") for each in ("", "0", "05", "+5", "-5", "5 5", "5,5")),
        pytest.param(head(length=str(64 * 1024 + 1)), id="a long body"),
        pytest.param(head(query="?token=a&token=b"), id="two tokens"),
        pytest.param(head(query="?_debugUnauthorized=1"), id="another parameter"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_parser_and_takes_no_place(request_: bytes) -> None:
    place = Place()

    assert place.fast.read(request_) is None
    assert place.limiter.taken_count == 0


def test_a_body_longer_than_a_server_takes_is_refused_elsewhere() -> None:
    assert Place(limit_bytes=5).fast.read(head()) is not None
    assert Place(limit_bytes=4).fast.read(head()) is None


@pytest.mark.parametrize(
    ("query", "is_read"),
    [("", False), ("?token=wrong", False), ("?token=ses%61me", True), ("?token=sesame", True), ("?token=", False)],
)
def test_a_wrong_token_is_refused_elsewhere(query: str, is_read: bool) -> None:
    place = Place(OneToken("sesame"))

    assert (place.fast.read(head(query=query)) is not None) is is_read
    assert place.limiter.taken_count == is_read


def test_a_request_takes_a_place_until_it_is_answered() -> None:
    place = Place(uploads_count=1)
    place.send(PHOTO)
    assert place.fast.read(head()) is None, "it waits for its turn elsewhere"

    ((task, files, size_bytes, ended),) = place.uploads.taken
    assert place.answers == []
    ended(None, well=True)

    assert (task, files, size_bytes) == (TASK, [("a.jpg", b"photo")], len(BODY))
    assert (place.answers, place.limiter.taken_count) == ([b'{"success":true}'], 0)


def test_what_fails_on_its_way_to_the_disk_goes_the_usual_way() -> None:
    place = Place()
    place.send(PHOTO)
    place.uploads.taken[0][3](None, well=False)

    assert (place.answers, place.limiter.taken_count) == ([None], 0)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY[:-4], id="cut"),
        pytest.param(BODY.replace(b"images", b"photos"), id="another field"),
        pytest.param(BODY.partition(b"--Xx-1--")[0] * (FILES_COUNT + 1) + b"--Xx-1--", id="many files"),
    ],
)
def test_a_body_that_is_not_plain_goes_the_usual_way(body: bytes) -> None:
    place = Place()
    place.send(head(length=str(len(body))) + body)

    assert (place.answers, place.uploads.taken, place.limiter.taken_count) == ([None], [], 0)


def test_a_body_that_does_not_come_takes_no_place_any_more() -> None:
    place = Place()
    plain = place.fast.read(head())
    assert plain is not None
    place.fast.forget(plain)

    assert (place.limiter.taken_count, place.answers) == (0, [])


def test_what_is_refused_goes_the_usual_way() -> None:
    place = Place()
    place.uploads.refuses = True
    place.send(PHOTO)

    assert (place.answers, place.limiter.taken_count) == ([None], 0)


class Forgetful(EverybodyMayCome):
    """Lets somebody in once."""

    def __init__(self) -> None:
        self._asked_count = 0

    def known(self, token: ShownToken) -> Tenant | None:
        self._asked_count += 1
        return super().known(token) if self._asked_count == 1 else None


def test_a_token_that_was_revoked_before_the_body_came_counts_no_more() -> None:
    place = Place(Forgetful())
    place.send(PHOTO)

    assert (place.answers, place.uploads.taken, place.limiter.taken_count) == ([None], [], 0)


def test_no_token_is_shown() -> None:
    assert "sesame" not in repr(Place(OneToken("sesame")).fast.read(head(query="?token=sesame")))


TEXT = st.text(st.sampled_from("abX19 -:/?=&%0\t\r\n,;_\"'"), max_size=12)
NAMES = st.sampled_from(["a", "Connection", "Host", "x-y", "te", "b ", "content-length", "Content-Type", "expect"])


@given(TEXT, st.lists(st.tuples(NAMES, TEXT), max_size=3), TEXT)
def test_whatever_is_read_is_one_head_to_the_parser_too(
    query: str, lines: list[tuple[str, str]], boundary: str
) -> None:
    more = "".join(f"{name}: {value}\r\n" for name, value in lines)
    kind = f"Content-Type: multipart/form-data; boundary={boundary}\r\n"
    request = head("host: x\r\n" + kind + more, query=f"?token={query}")
    plain = Place().fast.read(request)
    if plain is None:
        return

    reader = HeadReader(HeadLimits())
    try:
        end = reader.feed(request)
        said = reader.request()
    except BadMessage as bad:
        raise AssertionError(f"{request!r} is no HTTP: {bad.words}") from None
    assert (end, said.method, said.keeps, said.length_bytes) == (plain.head_bytes, "POST", plain.keeps, 5)
    assert not said.awaits_continue
    assert said.target == f"/task/new/upload/{TASK}?token={query}".encode()
    assert plain.boundary in (find(said.headers, b"content-type") or b"")
