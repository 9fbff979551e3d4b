"""Two tenants at two proxies: what each reaches, and how soon a token that was revoked reaches nothing."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import structlog.testing

from clusterodm.libs.common.model.values import NodeTaskId, Owner, TaskId
from clusterodm.libs.common.tenancy import IssuedToken, Tenant, TokensFile, digest_of
from clusterodm.services.admin.tenants.adapters import write_file
from tests.proxies import MULTIPART, ProxyUnderTest, ScriptedNode, multipart, response, running_proxy
from tests.waiting import until

pytestmark = pytest.mark.slow

ANNE, ANNE_TOO, BERT = "anne-has-a-token", "anne-has-another", "bert-has-a-token"
NAMES = {ANNE: "anne", ANNE_TOO: "anne", BERT: "bert"}
UNKNOWN = "11111111-2222-4333-8444-555555555555"


def write(path: Path, *tokens: str, **limits: int) -> None:
    """Write the file of tokens; `limits` are Anne's."""
    issued = (IssuedToken(id=token[:6] + token[-3:], tenant=NAMES[token], sha256=digest_of(token)) for token in tokens)
    write_file(path, TokensFile(tenants=(Tenant(name="anne", **limits), Tenant(name="bert")), tokens=tuple(issued)))


@asynccontextmanager
async def proxies(folder: Path, *tokens: str, **limits: int) -> AsyncIterator[tuple[ProxyUnderTest, ProxyUnderTest]]:
    """Run two proxies of one cluster."""
    path = folder / "tokens.json"
    write(path, *tokens, **limits)
    async with (
        running_proxy(folder / "one", tokens=str(path)) as first,
        running_proxy(folder / "two", beside=first, tokens=str(path)) as second,
    ):
        yield first, second


async def begun(proxy: ProxyUnderTest, token: str) -> str:
    """Begin a task and upload an image to it."""
    status, said = await proxy.form(f"/task/new/init?token={token}", name="mine")
    assert status == 200, said
    task: str = said["uuid"]
    assert await uploaded(proxy, task, token) == (200, {"success": True})
    return task


async def uploaded(proxy: ProxyUnderTest, task: str, token: str, *names: str) -> tuple[int, dict[str, object]]:
    """Upload images."""
    parts = [(f'name="images"; filename="{name}"', b"jpeg") for name in names or ("a.jpg",)]
    return await proxy.json("POST", f"/task/new/upload/{task}?token={token}", multipart(parts), MULTIPART)


async def test_another_tenant_gets_at_nothing_and_another_token_of_the_same_at_everything(tmp_path: Path) -> None:
    async with proxies(tmp_path, ANNE, ANNE_TOO, BERT) as (one, other):
        task = await begun(one, ANNE)
        for proxy in (one, other):
            assert (await uploaded(proxy, task, BERT))[0] == 404
            status, said = await proxy.json("POST", f"/task/new/commit/{task}?token={BERT}")
            assert "no longer exists" in said["error"], (status, said)
        assert await one.json("POST", f"/task/new/commit/{task}?token={ANNE_TOO}") == (200, {"uuid": task})
        for proxy in (one, other):
            await until(lambda proxy=proxy: proxy.cluster.task(task))
            for action in ("info", "output", "download/all.zip"):
                _, said = await proxy.json("GET", f"/task/{task}/{action}?token={BERT}")
                assert "no task table entry" in said["error"], (action, said)
            assert await proxy.json("GET", f"/task/list?token={BERT}") == (200, [])
            assert await proxy.json("GET", f"/task/list?token={ANNE_TOO}") == (200, [{"uuid": task}])
            for verb in ("cancel", "remove", "restart"):
                _, said = await proxy.form(f"/task/{verb}?token={BERT}", uuid=task)
                assert "no nodes in routing table" in said["error"]
            assert (await proxy.json("GET", f"/task/{task}/info?token={ANNE_TOO}"))[1]["uuid"] == task


async def test_a_revoked_token_is_refused_by_every_proxy_within_five_seconds(tmp_path: Path) -> None:
    async with proxies(tmp_path, ANNE, BERT) as both:
        for proxy in both:
            assert (await proxy.ask("GET", f"/info?token={ANNE}"))[0] == 200

        async def statuses(token: str) -> set[int]:
            return {(await proxy.ask("GET", f"/info?token={token}"))[0] for proxy in both}

        write(tmp_path / "tokens.json", BERT)
        revoked_s = time.monotonic()

        async def refused() -> bool:
            return await statuses(ANNE) == {401}

        await until(refused)
        assert time.monotonic() - revoked_s < 5.0
        assert await statuses(BERT) == {200}


class Sender:
    """A client that is in the middle of an upload, or of a download, and goes on as long as it may."""

    def __init__(self, proxy: ProxyUnderTest, head: str) -> None:
        self._proxy = proxy
        self._head = head
        self.answer = b""
        self.ended_s: float | None = None

    async def run(self, piece: bytes, *, sends: bool = True) -> None:
        """Send pieces until the connection is closed, or one and then nothing."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._proxy.port)
        try:
            writer.write(f"{self._head} HTTP/1.1\r\nhost: x\r\n".encode() + piece)
            heard = asyncio.create_task(reader.read())  # noqa: TID251 awaited below
            with contextlib.suppress(ConnectionError):
                while not heard.done():
                    if sends:
                        writer.write(b"x" * 20_000)
                        await writer.drain()
                    await asyncio.wait((heard,), timeout=0.05)
            with contextlib.suppress(ConnectionError):
                self.answer = await heard
            self.ended_s = time.monotonic()
        finally:
            writer.close()


BODY = multipart([('name="images"; filename="large.jpg"', b"")], end=False)[:-2]
FORM = b'content-length: 60\r\ncontent-type: application/json\r\n\r\n{"uuid":'
UPLOAD = f"content-length: 1000000000\r\ncontent-type: {MULTIPART['content-type']}\r\n\r\n".encode() + BODY


async def goes_on_for(seconds: float, senders: Sequence[Sender]) -> None:
    """Look all the time that none of them ends."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        assert [sender.ended_s for sender in senders] == [None] * len(senders)
        await asyncio.sleep(0.05)


async def test_what_is_under_way_for_a_revoked_token_is_cut_by_every_proxy_within_five_seconds(tmp_path: Path) -> None:
    async with (
        proxies(tmp_path, ANNE, BERT) as (one, other),
        ScriptedNode().at_work() as script,
        asyncio.TaskGroup() as group,
    ):
        result = TaskId("99999999-2222-4333-8444-555555555555")
        script.say(f"/task/{result}/download", response(b"x" * 100_000, length=10**9), 60.0)
        await one.ran(script.port, result, NodeTaskId(result))
        await one.scheduler.change(result, owner=Owner("anne"))
        await until(lambda: (known := one.cluster.task(result)) and known.task.owner == "anne")
        task, berts = await begun(one, ANNE), await begun(one, BERT)
        cut = [
            Sender(one, f"POST /task/new/upload/{task}?token={ANNE}"),
            Sender(other, f"POST /task/new/upload/{task}?token={ANNE}"),
            Sender(one, f"POST /task/new?token={ANNE}"),
            Sender(one, f"GET /task/{result}/download/all.zip?token={ANNE}"),
        ]
        held = [Sender(one, f"POST /task/{action}?token={ANNE}") for action in ("cancel", "remove", "restart")]
        goes_on = Sender(one, f"POST /task/new/upload/{berts}?token={BERT}")
        for sender in held:
            group.create_task(sender.run(FORM, sends=False))
        for sender in (*cut, goes_on):
            group.create_task(sender.run(b"\r\n", sends=False) if sender is cut[-1] else sender.run(UPLOAD))
        await until(lambda: script.sent_bytes)
        await goes_on_for(1.5, [*cut, *held])  # so that whoever looks does so at least once while they count
        write(tmp_path / "tokens.json", BERT)
        revoked_s = time.monotonic()
        await until(lambda: all(sender.ended_s for sender in (*cut, *held)))
        assert max(sender.ended_s or 0 for sender in (*cut, *held)) - revoked_s < 5.0
        assert not any(b" 200 OK" in sender.answer for sender in cut[:-1])
        assert all(b" 401 " in sender.answer for sender in held)
        assert goes_on.ended_s is None
        assert all(task not in str(path) or "large" not in path for path in one.leftovers())
        revoked_s = time.monotonic()
        write(tmp_path / "tokens.json", ANNE)
        await until(lambda: goes_on.ended_s)
        assert (goes_on.ended_s or 0) >= revoked_s


async def test_a_bad_file_changes_nothing_and_a_good_one_after_it_does(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        lines = stack.enter_context(structlog.testing.capture_logs())
        one, _ = await stack.enter_async_context(proxies(tmp_path, ANNE))
        (tmp_path / "tokens.json").write_text('{"tokens": [{]}')

        async def status(token: str) -> int:
            return (await one.ask("GET", f"/info?token={token}"))[0]

        write(tmp_path / "later.json", ANNE, BERT)
        await until(lambda: any(line["event"] == "tokens.refused" for line in lines), what="the bad file to be read")
        assert [await status(ANNE), await status(BERT)] == [200, 401]
        (tmp_path / "later.json").replace(tmp_path / "tokens.json")

        async def let_in() -> bool:
            return await status(BERT) == 200

        await until(let_in)
        assert await status(ANNE) == 200


async def test_what_a_tenant_may_not_is_said_in_the_shape_of_nodeodm(tmp_path: Path) -> None:
    async with proxies(tmp_path, ANNE, BERT, max_images_count=1, tasks_at_once_count=2) as (one, _):
        assert (await one.json("GET", f"/info?token={ANNE}"))[1]["maxImages"] == 1
        assert (await one.json("GET", f"/info?token={BERT}"))[1]["maxImages"] is None
        task = await begun(one, ANNE)
        status, said = await uploaded(one, task, ANNE, "b.jpg")
        assert (status, said) == (400, {"error": "Max images count exceeded. (limit 1)"})
        assert (await uploaded(one, await begun(one, BERT), BERT, "b.jpg", "c.jpg"))[0] == 200


@pytest.mark.parametrize("action", ["info", "download/all.zip"])
async def test_no_refusal_tells_by_its_time_what_it_is_for(tmp_path: Path, action: str) -> None:
    async with proxies(tmp_path, ANNE, BERT) as (one, _):
        task = await begun(one, ANNE)
        await one.json("POST", f"/task/new/commit/{task}?token={ANNE}")
        await until(lambda: one.cluster.task(task))
        anothers, nobodys = await times_s(one, f"/task/{task}/{action}", f"/task/{UNKNOWN}/{action}", BERT)
    assert 0.6 < anothers / nobodys < 1.6


async def test_a_token_that_was_valid_is_refused_as_quickly_as_one_that_never_was(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    expired = IssuedToken(id="a", tenant="anne", sha256=digest_of(ANNE), expires_at_ms=1)
    write_file(path, TokensFile(tenants=(Tenant(name="anne"),), tokens=(expired,)))
    async with running_proxy(tmp_path / "one", tokens=str(path)) as one:
        assert (await one.ask("GET", f"/info?token={ANNE}"))[0] == 401
        before, never = await times_s(one, f"/options?token={ANNE}", "/options?token=never-was-a-token", "")
    assert 0.6 < before / never < 1.6


async def times_s(proxy: ProxyUnderTest, target: str, other: str, token: str) -> tuple[float, float]:
    """Ask two things in turn, many times; the median time of each."""
    took_s: tuple[list[float], list[float]] = ([], [])
    for _ in range(150):
        for each, times in zip((target, other), took_s, strict=True):
            began_s = time.perf_counter()
            await proxy.ask("GET", f"{each}?token={token}" if token else each)
            times.append(time.perf_counter() - began_s)
    return statistics.median(took_s[0]), statistics.median(took_s[1])
