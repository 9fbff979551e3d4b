"""Small uploads: answered from their bytes exactly as by the router, with the same files, lines of the log and counts."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.http_io.server import BODY_S
from clusterodm.libs.common.http_io.sharing import Take
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.proxy.metrics import HTTP_RECEIVED, HTTP_REQUESTS, HTTP_SENT
from clusterodm.services.proxy.server.fast_uploads import PlainUpload, UploadFastPath
from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.adapters.spool import THREADS_COUNT
from clusterodm.services.proxy.spool.adapters.whole_part import KeptRoom
from tests.proxies import BOUNDARY, MULTIPART, ProxyUnderTest, multipart, parse, running_proxy
from tests.waiting import until

SUCCESS = b'{"success":true}'
INSIDE = "te: trailers\r\n"
"""With this line a request goes the usual way."""
ENDPOINT = "/task/new/upload/{uuid}"
NOBODYS = "cccccccc-3333-4333-8333-333333333333"


def image(name: str = "a.jpg", content: bytes = b"pixels", end: str = "") -> tuple[str, bytes]:
    """One part of an upload."""
    return f'name="images"; filename="{name}"{end}', content


def usual(*files: tuple[str, bytes], boundary: str = BOUNDARY, end: str = "--\r\n") -> bytes:
    """Write a body as curl and requests do."""
    heads = [f'Content-Disposition: form-data; name="images"; filename="{name}"\r\n' for name, _ in files]
    parts = [
        f"--{boundary}\r\n{head}Content-Type: image/jpeg\r\n\r\n".encode() + content + b"\r\n"
        for head, (_, content) in zip(heads, files, strict=True)
    ]
    return b"".join(parts) + f"--{boundary}{end}".encode()


class Watched(UploadFastPath):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.read_count = 0
        self.answers: list[bytes | None] = []

    def read(self, data: bytes) -> PlainUpload | None:
        plain = super().read(data)
        self.read_count += plain is not None
        return plain

    def answer(self, plain: PlainUpload, data: bytes, take: Take) -> None:
        def taken(content: bytes | None, behind: Any = None) -> None:
            self.answers.append(content)
            take(content, behind)

        super().answer(plain, data, taken)


def watched(proxy: ProxyUnderTest) -> Watched:
    """Watch the fast path of a proxy."""
    fast = cast("list[Any]", proxy.app.fast)
    watching = Watched()
    watching.__dict__.update(fast[1].__dict__)
    fast[1] = watching
    return watching


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    """A proxy that does not wait for long."""
    async with running_proxy(tmp_path / "spool", upload_stall_timeout_s=0.3) as proxy:
        yield proxy


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    """A proxy that waits."""
    async with running_proxy(tmp_path / "patient") as proxy:
        yield proxy


@dataclass
class Case:
    """An upload request."""

    body: bytes = field(default_factory=lambda: usual(("a.jpg", b"pixels")))
    lines: str = f"content-type: {MULTIPART['content-type']}\r\n"
    length: str = ""
    """Empty: that of the body."""
    query: str = ""
    path: str = "/task/new/upload/"
    before: Sequence[tuple[str, bytes]] = ()
    """What was uploaded before."""
    is_plain: bool = True
    """Whether the fast path answers."""
    is_http: bool = True
    """Whether an application sees it, and counts."""
    state: str = ""
    """What was done with the task."""

    def request(self, task: str, more: str = "") -> bytes:
        """Write it."""
        length = self.length or str(len(self.body))
        head = (
            f"POST {self.path}{task}{self.query} HTTP/1.1\r\nhost: x\r\n{self.lines}{more}content-length: {length}\r\n"
        )
        return f"{head}connection: close\r\n\r\n".encode() + self.body


def case(name: str, **fields: Any) -> Any:
    return pytest.param(Case(**fields), id=name)


def odd(name: str, **fields: Any) -> Any:
    """Name one that goes the usual way."""
    return case(name, is_plain=False, **fields)


SHORT_LINES = "".join(f"{number:02x}:\r\n" for number in range(256))
LONGEST, AROUND = 64 * 1024, len(usual(("a.jpg", b"")))
CASES = [
    case("a photo"),
    case("several", body=usual(("a.jpg", b"1"), ("b.jpg", b"22"), ("c.png", b"333"))),
    case("an empty file", body=usual(("a.jpg", b""), ("b.jpg", b"1"))),
    case("two of one name and content", body=usual(("a.jpg", b"1"), ("a.jpg", b"1"))),
    case("two of one name", body=usual(("a.jpg", b"1"), ("a.jpg", b"2"))),
    case("its twin is there", before=[("a.jpg", b"pixels")]),
    case("its name is taken", before=[("a.jpg", b"another")]),
    case("with bytes like delimiters", body=usual(("a.jpg", b"\r\n--\r\n--x\r\n\r\n--" + b"\x00" * 100 + b"\r\n"))),
    case("in folders", body=usual(("x/y/a.jpg", b"1"), ("C:/x/b.jpg", b"2"))),
    case("a name in UTF-8", body=usual(("Übersicht 日本.jpg", b"1"))),
    case("a name of RFC 2047", body=usual(("=?utf-8?B?w6QuanBn?=", b"1"))),
    case("a name that is reserved", body=usual(("body.json", b"{}"))),
    case("dots", body=usual(("..", b"1"))),
    case("a seed", body=usual(("seed.zip", b"zip"))),
    case("without a line end behind it", body=usual(("a.jpg", b"1"), end="--")),
    case("a quoted boundary", lines=f'content-type: multipart/form-data; boundary="{BOUNDARY}"\r\n'),
    case("many lines", lines="user-agent: x\r\naccept: */*\r\nContent-Type: Multipart/Form-Data; boundary=----boundary\r\n"),
    case("a token", query="?token=mine"),
    case("an encoded token", query="?token=%C3%A4%2B"),
    case("an empty token", query="?token="),
    case("64 KB", body=usual(("a.jpg", b"x" * (LONGEST - AROUND)))),
    odd("more than 64 KB", body=usual(("a.jpg", b"x" * (LONGEST - AROUND + 1)))),
    odd("a field beside it", body=multipart([image(), ('name="name"', b"x")])),
    odd("a field of files without a file", body=multipart([('name="images"', b"x")])),
    odd("small letters in its head", body=multipart([image()])),
    odd("a folded head", body=multipart([image(end="\r\n folded: x")])),
    odd("filename*", body=multipart([image(end="; filename*=UTF-8''b.jpg")])),
    odd("a file without a name and bytes beside it", body=multipart([image("", b""), image()])),
    odd("a file without a name", body=usual(("", b"1"))),
    odd("another field", body=usual(("a.jpg", b"1")).replace(b'"images"', b'"photos"')),
    odd("one field good and one not", body=usual(("a.jpg", b"1"), ("b.jpg", b"1")).replace(b'"images"', b'"photos"', 1)),
    odd("a name that is too long", body=usual(("a" * 300 + ".jpg", b"1"))),
    odd("a good name and one too long", body=usual(("a.jpg", b"1"), ("a" * 300 + ".jpg", b"1"))),
    odd("control characters", body=usual(("a\x01.jpg", b"1"))),
    odd("no files", body=f"--{BOUNDARY}--\r\n".encode()),
    odd("nothing", body=b""),
    odd("nonsense", body=b"nonsense"),
    odd("another boundary", body=usual(("a.jpg", b"1"), boundary="other")),
    odd("cut in the file", body=usual(("a.jpg", b"pixels"))[:-30]),
    odd("cut in the end", body=usual(("a.jpg", b"pixels"))[:-4]),
    odd("text behind the end", body=usual(("a.jpg", b"1")) + b"epilogue"),
    odd("a part behind the end", body=usual(("a.jpg", b"1")) + usual(("b.jpg", b"2"))),
    odd("text in front", body=b"preamble\r\n" + usual(("a.jpg", b"1"))),
    odd("bare line feeds", body=usual(("a.jpg", b"1")).replace(b"\r\n", b"\n")),
    odd("no content type", lines=""),
    odd("another content type", lines="content-type: text/plain\r\n"),
    odd("a form", lines="content-type: application/x-www-form-urlencoded\r\n", body=b"a=b"),
    odd("no boundary", lines="content-type: multipart/form-data\r\n"),
    odd("two boundaries", lines="content-type: multipart/form-data; boundary=a; boundary=b\r\n"),
    odd("a line twice", lines="content-type: text/plain\r\ncontent-type: multipart/form-data; boundary=----boundary\r\n"),
    odd("two lengths", is_http=False, lines=f"content-length: 4\r\ncontent-type: {MULTIPART['content-type']}\r\n"),
    odd("more lines than a head may have", is_http=False, lines=f"content-type: {MULTIPART['content-type']}\r\n{SHORT_LINES}"),
    odd("a length that is none", is_http=False, length="x"),
    odd("a length with a sign", is_http=False, length="+10"),
    odd("a length with a zero in front", length=f"0{len(usual(('a.jpg', b'pixels')))}"),
    odd("a body that stops", length=str(len(usual(("a.jpg", b"pixels"))) + 5)),
    odd("an origin", lines=f"origin: http://a\r\ncontent-type: {MULTIPART['content-type']}\r\n"),
    odd("a folded line", is_http=False, lines=f"a: b\r\n c\r\ncontent-type: {MULTIPART['content-type']}\r\n"),
    odd("passed on", lines=f"clusterodm-passed-on: x\r\ncontent-type: {MULTIPART['content-type']}\r\n"),
    odd("an offer", lines=f"upgrade: h2c\r\ncontent-type: {MULTIPART['content-type']}\r\n"),
    odd("an expectation", lines=f"expect: 100-continue\r\ncontent-type: {MULTIPART['content-type']}\r\n"),
    odd("two tokens", query="?token=a&token=b"),
    odd("unauthorized", query="?_debugUnauthorized=1"),
    odd("another's", query="?token=anothers", state="owned"),
    odd("an unknown task", path=f"/task/new/upload/{NOBODYS}?x="),
    odd("no task", path="/task/new/upload/x?"),
    odd("more path", path="/task/new/upload/more/"),
    odd("committed", before=[("b.jpg", b"1")], state="committed"),
    odd("its directory is gone", state="no files"),
    odd("its parts are gone", state="no parts"),
]  # fmt: skip


async def prepared(proxy: ProxyUnderTest, asked: Case) -> str:
    """Begin the task of a case."""
    status, said = await proxy.form("/task/new/init" + ("?token=mine" if asked.state == "owned" else ""), name="n")
    assert status == 200
    task: str = said["uuid"]
    if asked.before:
        assert await proxy.upload(task, *asked.before) == (200, {"success": True})
    if asked.state == "committed":
        assert (await proxy.json("POST", f"/task/new/commit/{task}"))[0] == 200
    if asked.state in {"no files", "no parts"}:
        for path in (found := proxy.root / task / (disk.FILES if asked.state == "no files" else disk.PARTS)).iterdir():
            path.unlink()
        found.rmdir()
    return task


def without_names(text: bytes, task: str) -> bytes:
    """Leave out what differs from request to request."""
    return re.sub(rb"date: [^\r]*\r\n", b"", text).replace(task.encode(), b"TASK")


def files_of(proxy: ProxyUnderTest, task: str) -> dict[str, bytes]:
    """Read what lies in a task's directory."""
    folder = proxy.root / task
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if (path.is_file() and path.suffix != ".json") or path.parent.name == disk.FILES
    }


def counted() -> dict[Any, float]:
    """Read what is counted of uploads."""
    return {
        (metric.name, key): value
        for metric in (HTTP_REQUESTS, HTTP_RECEIVED, HTTP_SENT)
        for key, value in metric.values.items()
        if key[0] in {ENDPOINT, "other"}
    }


async def outcome(proxy: ProxyUnderTest, asked: Case, more: str = "") -> tuple[object, ...]:
    """Send a request to a task of its own; all that came of it."""
    task = await prepared(proxy, asked)
    before, arrived, received_bytes = counted(), len(proxy.forwarding.files), proxy.spool.received_bytes
    with capture_logs() as lines:
        answer = await proxy.raw(asked.request(task, more))
        await until(lambda: counted() != before or not asked.is_http)
        await until(lambda: not list((proxy.root / task).glob(f"{disk.PARTS}/*")))
    after = counted()
    held = next(each for each in proxy.spool.held() if each.draft.task == task)
    for line in lines:
        line.pop("exc_info", None)
    return (
        without_names(answer, task),
        files_of(proxy, task),
        [{name: str(value).replace(task, "TASK") for name, value in line.items()} for line in lines if asked.is_http],
        {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)},
        (held.arrived_bytes, held.arrived_count, held.stored_bytes, held.images_count, held.receiving),
        [name for _, name in proxy.forwarding.files[arrived:]],
        proxy.spool.received_bytes - received_bytes,
        (proxy.app.limiter.taken_count, repr(proxy.spool._kept_room)),
    )


@pytest.mark.parametrize("asked", CASES)
async def test_the_fast_path_does_what_the_router_does(proxy: ProxyUnderTest, asked: Case) -> None:
    fast = watched(proxy)
    usually = await outcome(proxy, asked, INSIDE)
    assert fast.answers == [] or asked.before
    fast.answers.clear()

    quickly = await outcome(proxy, asked)

    assert quickly == usually
    assert (fast.answers[-1:] == [SUCCESS]) is asked.is_plain


def test_what_is_answered_quickly_succeeds() -> None:
    plain = [each.id for each in CASES if cast("Case", each.values[0]).is_plain]
    assert len(plain) > 20


# --- how it comes, and what happens meanwhile ----------------------------------------------------------------------

PHOTO = Case(body=usual(("a.jpg", b"x" * 1000)))


def kept(request: bytes) -> bytes:
    """Have the connection go on."""
    return request.replace(b"connection: close\r\n", b"")


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer from a connection that is kept."""
    head = await reader.readuntil(b"\r\n\r\n")
    status, lines, _ = parse(head)
    return status, await reader.readexactly(int(lines["content-length"]))


@pytest.mark.parametrize(
    ("step", "pause_s", "is_quick"),
    [
        pytest.param(1300, 0.0, True, id="two"),
        pytest.param(300, 0.0, True, id="five"),
        pytest.param(700, 2 * BODY_S + 1.0, False, id="late"),
        pytest.param(100, 0.0, False, id="its head in two"),
    ],
)
async def test_a_body_may_come_in_pieces(patient: ProxyUnderTest, step: int, pause_s: float, is_quick: bool) -> None:
    fast, task = watched(patient), await patient.init()
    request = PHOTO.request(task)
    reader, writer = await asyncio.open_connection("127.0.0.1", patient.port)
    for at in range(0, len(request), step):
        writer.write(request[at : at + step])
        await asyncio.sleep(0.02 if at else max(0.02, pause_s))

    assert (await read_answer(reader)) == (200, SUCCESS)
    assert (fast.answers == [SUCCESS]) is is_quick
    assert patient.app.limiter.taken_count == 0
    writer.close()


async def test_uploads_and_polls_follow_each_other_on_one_connection(proxy: ProxyUnderTest) -> None:
    fast, task = watched(proxy), await proxy.init()
    info = b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n"
    one, other = (kept(Case(body=usual((name, b"1"))).request(task)) for name in ("a.jpg", "b.jpg"))
    chunked = b"transfer-encoding: chunked\r\n" + PHOTO.lines.encode() + b"\r\n%x\r\n%s\r\n0\r\n\r\n"
    usually = f"POST /task/new/upload/{task} HTTP/1.1\r\nhost: x\r\n".encode() + chunked % (len(PHOTO.body), PHOTO.body)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(one + other + info + usually + one + info)

    answers = [await read_answer(reader) for _ in range(6)]

    assert [status for status, _ in answers] == [200] * 6
    assert [b"version" in said for _, said in answers] == [False, False, True, False, False, True]
    assert fast.answers == [SUCCESS] * 2, "what has come behind a request that went the usual way does so, too"
    assert set(files_of(proxy, task)) == {"files/a.jpg", "files/a_.jpg", "files/b.jpg"}
    writer.close()


def disk_held(proxy: ProxyUnderTest) -> threading.Event:
    """Let nothing go to the disk until the event is set."""
    gate = threading.Event()
    for _ in range(THREADS_COUNT):
        proxy.spool._threads.submit(gate.wait, 20)
    return gate


@contextmanager
def disk_that_waits(proxy: ProxyUnderTest) -> Iterator[threading.Event]:
    """Let nothing go to the disk until the event is set, or the context is left."""
    gate = disk_held(proxy)
    try:
        yield gate
    finally:
        gate.set()


async def under_way(proxy: ProxyUnderTest, task: str) -> asyncio.StreamWriter:
    """Send a photo whose files wait for the disk."""
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(PHOTO.request(task))
    await until(lambda: "waiting=0 working=1" in repr(proxy.spool._lanes))
    return writer


async def test_an_upload_whose_client_has_gone_is_kept_and_counted(proxy: ProxyUnderTest) -> None:
    task, before = await proxy.init(), counted()
    with disk_that_waits(proxy) as gate:
        (await under_way(proxy, task)).transport.abort()
        for _ in range(2):  # what is answered now has come after the end of that connection
            assert (await proxy.json("GET", "/info"))[0] == 200
        gate.set()
        await until(lambda: counted() != before)

    assert (
        counted()[HTTP_REQUESTS.name, (ENDPOINT, "200")] == before.get((HTTP_REQUESTS.name, (ENDPOINT, "200")), 0) + 1
    )
    assert set(files_of(proxy, task)) == {"files/a.jpg"}
    assert (proxy.app.limiter.taken_count, repr(proxy.spool._kept_room)) == (0, repr(KeptRoom()))


async def test_a_client_that_goes_before_its_body_has_come_leaves_nothing(proxy: ProxyUnderTest) -> None:
    fast, task = watched(proxy), await proxy.init()
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(PHOTO.request(task)[:-500])
    await until(lambda: fast.read_count)
    writer.transport.abort()

    await until(lambda: proxy.app.limiter.taken_count == 0)
    assert (files_of(proxy, task), fast.answers) == ({}, [])


async def test_a_commit_waits_for_what_is_on_its_way_to_the_disk(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()
    with disk_that_waits(proxy) as gate:
        await under_way(proxy, task)
        async with asyncio.TaskGroup() as group:
            committing = group.create_task(proxy.json("POST", f"/task/new/commit/{task}"))
            await until(lambda: proxy.spool._entries[TaskId(task)].closing)
            assert (await proxy.raw(Case().request(task))).startswith(b"HTTP/1.1 404")
            gate.set()
        assert committing.result() == (200, {"uuid": task})
    assert [file.name for file in (await proxy.spool.manifest(TaskId(task))).files] == ["a.jpg"]


async def test_one_upload_too_many_waits_for_its_turn(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool", uploads_at_once_count=1, uploads_wait_s=10) as proxy:
        fast, task = watched(proxy), await proxy.init()
        with disk_that_waits(proxy) as gate:
            await under_way(proxy, task)
            async with asyncio.TaskGroup() as group:
                second = group.create_task(proxy.raw(PHOTO.request(task)))
                await until(lambda: proxy.app.limiter.waiting_count)
                gate.set()
        assert second.result().endswith(SUCCESS)
        assert (fast.answers, proxy.app.limiter.taken_count) == ([SUCCESS], 0)


async def test_a_stop_waits_for_an_upload_under_way(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        async with running_proxy(tmp_path / "spool", stop_timeout_s=10.0) as proxy:
            fast, task = watched(proxy), await proxy.init()
            gate = disk_held(proxy)
            asking = group.create_task(proxy.raw(kept(PHOTO.request(task))))
            await until(lambda: "waiting=0 working=1" in repr(proxy.spool._lanes))
            asyncio.get_running_loop().call_later(0.3, gate.set)
        assert fast.answers == [SUCCESS]
    assert asking.result().endswith(SUCCESS)
    assert b"connection: close\r\n" in asking.result()
