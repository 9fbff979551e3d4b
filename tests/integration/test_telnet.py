"""The telnet command line over real sockets, in front of a scheduler on a real bus."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
import telnetlib3

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.messages.operators import OPERATOR_ACTED, OperatorActed
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.telnet.api import telnet_server
from clusterodm.services.admin.telnet.core.admission import SessionLimits
from clusterodm.services.admin.telnet.core.grammar import HELP
from clusterodm.services.admin.telnet.core.lines import LONGEST_LINE_BYTES
from clusterodm.services.admin.telnet.core.tenant_words import HELP as TENANT_HELP
from tests.fake_scheduler import FakeScheduler, node, task
from tests.waiting import until

RUNNING = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
LIST = (
    "1) 127.0.0.1:4001 [online] [1/2] <engine: odm 3.5.5> <API: 2.2.4>\r\n"
    "2) 127.0.0.1:4002 [offline] [?/?] <engine: ?> <API: ?> [L]\r\n\r\n"
)


class Client:
    """A program that speaks plain TCP and never negotiates."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, end: str) -> str:
        async with asyncio.timeout(10):
            return (await self.reader.readuntil(end.encode())).decode().removesuffix(end)

    async def answer(self, line: str, prompt: str = "#> ") -> str:
        await self.send(line.encode() + b"\r\n")
        return await self.until(prompt)

    async def rest(self) -> str:
        async with asyncio.timeout(15):
            return (await self.reader.read()).decode()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=16 * 1024 * 1024)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def scheduler(nats_bus: NatsBus) -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    fake.nodes = [
        node(1),
        node(2, port=4002, has_token=True, locked=True, online=False, info=None, trouble="refused"),
    ]
    fake.tasks = [task(RUNNING, on=fake.nodes[0]), task("w1", TaskState.WAITING, waiting_because="busy")]
    fake.consoles = {RUNNING: ("one", "two", "three")}
    async with nats_bus.serve("scheduler", fake.handlers()):
        yield fake


Serving = Callable[[SessionLimits], AbstractAsyncContextManager[int]]


@pytest.fixture
def serving(nats_bus: NatsBus) -> Serving:
    """Serve telnet with some rules while a context is open."""
    logins = LoginThrottle()

    @asynccontextmanager
    async def open_server(rules: SessionLimits) -> AsyncIterator[int]:
        listener = listen("127.0.0.1", 0, "--admin-cli-port")
        async with telnet_server(nats_bus, rules, logins, listener):
            yield port_of(listener)

    return open_server


@pytest.fixture
async def port(serving: Serving) -> AsyncIterator[int]:
    async with serving(SessionLimits()) as found:
        yield found


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    """A client that has read the banner."""
    async with connected(port) as found:
        await found.until("#> ")
        yield found


async def test_the_banner_comes_at_once_and_asks_nothing(port: int):
    async with connected(port) as client:
        me = client.writer.get_extra_info("sockname")
        async with asyncio.timeout(5):
            banner = await client.reader.readuntil(b"#> ")
    wanted = rf"Welcome 127\.0\.0\.1:{me[1]} ClusterODM:\d+\.\d+\.\d+\r\nHELP for help\r\nQUIT to quit\r\n#> "
    assert re.fullmatch(wanted, banner.decode())


async def test_help_lists_the_words(client: Client):
    assert await client.answer("help") == "".join(line + "\r\n" for line in (*HELP[:-1], *TENANT_HELP, HELP[-1]))


async def test_the_words_of_nodes(client: Client, scheduler: FakeScheduler):
    assert await client.answer("NODE LIST") == LIST
    assert await client.answer("node   add  localhost 4003 s3cret") == "OK\r\n"
    assert await client.answer("NODE ADD localhost 4003") == "FAIL\r\n"
    assert await client.answer("NODE ADD localhost") == "INVALID\r\n"
    assert await client.answer("NODE LOCK 3") == "OK\r\n"
    assert (await client.answer("NODE LIST")).splitlines()[2].endswith("[L]")
    assert await client.answer("NODE UNLOCK 3") == "OK\r\n"
    assert await client.answer("NODE UNLOCK 9") == "FAIL\r\n"
    assert await client.answer("NODE DRAIN 3 60") == "OK\r\n"
    assert (await client.answer("NODE LIST")).splitlines()[2].endswith("[D]")
    detail = await client.answer("NODE INFO 3")
    assert json.loads(detail)["token"] == "***"
    assert detail.endswith("}\r\n")
    assert await client.answer("NODE INFO 1abc") == "INVALID\r\n"
    assert await client.answer("NODE DEL 3") == "OK\r\n"
    assert await client.answer("NODE DEL 3") == "FAIL\r\n"
    assert await client.answer("NODE UPDATE") == "OK\r\n"
    assert await client.answer("NODE BEST 50") == LIST.splitlines()[0] + "\r\n"
    assert await client.answer("NODE BEST") == "INVALID\r\n"
    assert len(scheduler.nodes) == 2


async def test_no_best_node(client: Client, scheduler: FakeScheduler):
    scheduler.nodes = []
    assert await client.answer("NODE BEST 1") == "No best node available\r\n"
    assert await client.answer("NODE LIST") == "\r\n"


async def test_the_words_of_tasks_and_routes(client: Client, scheduler: FakeScheduler):
    tasks = json.loads(await client.answer("TASK LIST"))
    assert [(each["uuid"], each["status"]["code"]) for each in tasks] == [(RUNNING, 20), ("w1", 10)]
    assert json.loads(await client.answer("TASK LIST 2")) == []
    assert await client.answer("TASK LIST 9") == "INVALID\r\n"
    assert json.loads(await client.answer(f"TASK INFO {RUNNING}"))["progress"] == 42.0
    assert await client.answer(f"TASK OUTPUT {RUNNING}") == "one\r\ntwo\r\nthree\r\n"
    assert await client.answer(f"TASK OUTPUT {RUNNING} -1") == "three\r\n"
    assert json.loads(await client.answer("ROUTE LIST"))[RUNNING]["node"]["port"] == "4001"
    assert json.loads(await client.answer("ROUTE LIST 2")) == {}
    assert json.loads(await client.answer(f"ROUTE INFO {RUNNING}"))["accessed"] == 1_700_000_000_500
    assert json.loads(await client.answer(f"TASK CANCEL {RUNNING}")) == {"success": True}
    assert json.loads(await client.answer(f"TASK REMOVE {RUNNING}")) == {"success": True}
    for line in (
        f"TASK REMOVE {RUNNING}",
        "TASK CANCEL x",
        "TASK INFO",
        "ROUTE INFO",
        "ROUTE FOO",
        "TASK FOO",
        "ROUTE",
    ):
        assert await client.answer(line) == "INVALID\r\n"
    assert [each.id for each in scheduler.tasks] == ["w1"]


@pytest.mark.parametrize("line", ["", "FOO", "NODE", "NODE FOO", "ASR", "ASR FOO", "LOGIN x", "!!"])
async def test_what_is_no_command_is_invalid_and_the_prompt_comes_back(client: Client, line: str):
    assert await client.answer(line) == "INVALID\r\n"
    assert await client.answer("HELP")


async def test_the_last_command_is_repeated(client: Client, scheduler: FakeScheduler):
    await client.answer("NODE LIST")
    assert await client.answer("!!") == LIST
    assert await client.answer(" !! ") == LIST


async def test_split_input_is_one_command(client: Client, scheduler: FakeScheduler):
    for byte in b"NODE LIST\r\n":
        await client.send(bytes([byte]))
        await asyncio.sleep(0.005)
    assert await client.until("#> ") == LIST


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r\0", b"\r"])
async def test_commands_in_one_segment_are_answered_in_order(client: Client, scheduler: FakeScheduler, end: bytes):
    await client.send(b"NODE LIST" + end + b"FOO" + end + b"NODE LOCK 1" + end + b"quit" + end)
    assert await client.rest() == f"{LIST}#> INVALID\r\n#> OK\r\n#> Bye!\r\n"


async def test_a_script_that_closes_its_side_gets_its_answers(client: Client, scheduler: FakeScheduler):
    await client.send(b"NODE LIST\nNODE BEST 1")
    client.writer.write_eof()
    assert await client.rest() == f"{LIST}#> {LIST.splitlines()[0]}\r\n#> "


async def test_a_line_that_is_too_long_is_invalid_once(client: Client):
    await client.send(b"NODE ADD " + b"x" * (3 * LONGEST_LINE_BYTES) + b"\r\nHELP\r\n")
    assert await client.until("#> ") == "INVALID\r\n"
    assert (await client.until("#> ")).startswith("NODE ADD")


@pytest.mark.slow
async def test_when_the_scheduler_is_away_every_command_says_so_and_the_prompt_stays(client: Client):
    assert await client.answer("NODE LIST") == "The scheduler does not answer.\r\n"
    assert (await client.answer("HELP")).startswith("NODE ADD")


async def test_a_line_with_the_sequence_of_a_key_does_nothing(client: Client, scheduler: FakeScheduler):
    assert await client.answer("NODE DEL 12\x1b[D\x1b[D") == "INVALID\r\n"
    assert await client.answer("\x1b[A") == "INVALID\r\n"
    assert len(scheduler.nodes) == 2


async def test_negotiation_is_refused_and_does_not_disturb_commands(client: Client, scheduler: FakeScheduler):
    await client.send(b"\xff\xfd\x01\xff\xfb\x18NODE\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0 LI\xff\xf1ST\r\n")
    assert await client.reader.readexactly(6) == b"\xff\xfc\x01\xff\xfe\x18"
    assert await client.until("#> ") == LIST


async def test_a_real_telnet_client_that_negotiates_is_served(port: int, scheduler: FakeScheduler):
    reader, writer = await telnetlib3.open_connection(
        "127.0.0.1", port, encoding="utf8", connect_minwait=0.05, connect_maxwait=0.5
    )
    async with asyncio.timeout(10):
        banner = await reader.readuntil(b"#> ")
        writer.write("NODE LIST\r\n")
        answer = await reader.readuntil(b"#> ")
        writer.write("QUIT\r\n")
        end = await reader.read()
    writer.close()
    assert b"QUIT to quit" in banner
    assert answer == f"{LIST}#> ".encode()
    assert "Bye!" in end


class TestLogin:
    RULES = SessionLimits(passwords=Passwords({Role.ADMIN: "right one"}), login_s=5)

    @pytest.fixture
    async def port(self, serving: Serving) -> AsyncIterator[int]:
        async with serving(self.RULES) as found:
            yield found

    @pytest.fixture
    async def client(self, port: int) -> AsyncIterator[Client]:
        async with connected(port) as found:
            await found.until("$> ")
            yield found

    async def test_the_banner_asks_for_the_login(self, port: int):
        async with connected(port) as client:
            assert (await client.until("$> ")).endswith("\r\nLOGIN <LOGIN> to log-in\r\nQUIT to quit\r\n")

    async def test_the_password_opens_the_session(self, client: Client, scheduler: FakeScheduler):
        assert await client.answer("login right one") == "OK\r\nHELP for help\r\n"
        assert await client.answer("NODE LOCK 1") == "OK\r\n"
        assert scheduler.nodes[0].locked
        assert await client.answer("NODE UNLOCK 1") == "OK\r\n"
        assert await client.answer("NODE LIST") == LIST
        assert await client.answer("LOGIN right one") == "INVALID\r\n"
        assert await client.answer("!!") == LIST

    async def test_login_and_commands_may_come_in_one_segment(self, client: Client, scheduler: FakeScheduler):
        await client.send(b"LOGIN right one\nNODE LIST\nQUIT\n")
        assert await client.rest() == f"OK\r\nHELP for help\r\n#> {LIST}#> Bye!\r\n"
        assert len(scheduler.nodes) == 2

    async def test_quit_works_before_login(self, client: Client):
        await client.send(b"QUIT\r\n")
        assert await client.rest() == "Bye!\r\n"

    @pytest.mark.parametrize("line", ["NODE LIST", "HELP", "", "!!", "TASK LIST"])
    async def test_before_login_nothing_else_works(self, client: Client, line: str):
        assert await client.answer(line, "$> ") == "LOGIN first\r\n"

    async def test_after_a_few_refusals_the_session_ends(self, client: Client):
        await client.send(b"NODE LIST\r\n" * 5)
        assert await client.rest() == "LOGIN first\r\n$> LOGIN first\r\n$> LOGIN first\r\n"

    async def test_a_wrong_password_is_answered_later_each_time_over_all_connections(self, port: int):
        loop = asyncio.get_running_loop()
        times = []
        for _ in range(3):
            async with connected(port) as client:
                await client.until("$> ")
                began_s = loop.time()
                assert await client.answer("LOGIN wrong", "$> ") == "FAIL\r\n"
                times.append(loop.time() - began_s)
        assert times[0] < times[1]
        assert times[1] > 0.4
        assert times[2] > 0.9

    async def test_many_attempts_at_once_are_judged_one_by_one(self, port: int):
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        async def attempt() -> float:
            async with connected(port) as client:
                await client.until("$> ")
                assert await client.answer("LOGIN wrong", "$> ") == "FAIL\r\n"
                return loop.time() - began_s

        times = sorted(await asyncio.gather(*(attempt() for _ in range(4))))
        assert times[3] > 1.3

    async def test_silent_connections_keep_no_operator_out(self, serving: Serving):
        async with serving(replace(self.RULES, sessions_count=2, login_s=60)) as port, AsyncExitStack() as opened:
            silent = [await opened.enter_async_context(connected(port)) for _ in range(40)]
            async with connected(port) as client:
                await client.until("$> ")
                assert await client.answer("LOGIN right one") == "OK\r\nHELP for help\r\n"
            assert (await silent[0].rest()).endswith("$> ")

    async def test_who_does_not_log_in_is_sent_away(self, serving: Serving):
        async with serving(replace(self.RULES, login_s=0.2)) as port, connected(port) as client:
            assert (await client.rest()).endswith("$> \r\nTimed out.\r\n")


async def test_a_silent_session_ends(serving: Serving):
    async with serving(SessionLimits(idle_s=0.2)) as port, connected(port) as client:
        assert (await client.rest()).endswith("#> \r\nTimed out.\r\n")


async def test_beyond_the_limit_of_sessions_one_line_and_the_end(serving: Serving):
    async with serving(SessionLimits(sessions_count=2)) as port:
        async with connected(port) as first, connected(port) as second:
            await first.until("#> ")
            await second.until("#> ")
            async with connected(port) as third:
                assert await third.rest() == "Too many sessions, try again later.\r\n"
            await first.send(b"QUIT\n")
            await first.rest()

        async def greeted() -> bool:
            async with connected(port) as fourth:
                return (await fourth.reader.readline()).startswith(b"Welcome")

        await until(greeted, what="a session's place is free again")


async def test_a_client_that_does_not_read_is_slowed_down_and_costs_little_memory(serving: Serving, nats_bus: NatsBus):
    fake = FakeScheduler()
    fake.tasks = [task("big")]
    fake.consoles = {"big": tuple(f"{number:05} {'x' * 90}" for number in range(5000))}
    commands = 60
    async with nats_bus.serve("scheduler", fake.handlers()), serving(SessionLimits()) as port:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", port))
        raw.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=raw, limit=4096)
        writer.write(b"TASK OUTPUT big\n" * commands + b"QUIT\n")
        async with connected(port) as other:
            await other.send(b"TASK OUTPUT big\n" * commands + b"QUIT\n")
            assert len(await other.rest()) > commands * 5000 * 90, (
                "who comes later and reads has all of its answers by now"
            )
        assert 0 < len(fake.asked) - commands < commands / 2
        total = 0
        async with asyncio.timeout(60):
            while data := await reader.read(1 << 20):
                total += len(data)
        writer.close()
        await writer.wait_closed()
    assert total > commands * 5000 * 90


async def test_stopping_the_server_ends_its_sessions(serving: Serving):
    async with serving(SessionLimits()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readuntil(b"#> ")
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_whoever_lacks_a_role_and_asks_again_and_again_is_put_on_record_once(
    serving: Serving, nats_bus: NatsBus, scheduler: FakeScheduler
):
    told: list[OperatorActed] = []

    async def heard(act: OperatorActed) -> None:
        told.append(act)

    rules = SessionLimits(passwords=Passwords({Role.VIEWER: "v", Role.ADMIN: "a"}))
    async with nats_bus.subscribe(OPERATOR_ACTED, heard), serving(rules) as port, connected(port) as client:
        await client.until("$> ")
        await client.answer("LOGIN v")
        for line in ("NODE LOCK 1", "TOKEN REVOKE x") * 20:
            assert (
                await client.answer(line)
                == f"FAIL this needs the role {'operator' if 'LOCK' in line else 'admin'}; you are viewer\r\n"
            )
        async with connected(port) as admin:
            await admin.until("$> ")
            await admin.answer("LOGIN a")
            assert await admin.answer("NODE LOCK 1") == "OK\r\n"
        await until(lambda: any(each.act == "NODE LOCK" and each.outcome == "done" for each in told))
    assert [(each.role, each.act, each.outcome) for each in told] == [
        ("viewer", "SIGN IN", "done"),
        ("viewer", "NODE LOCK", "refused"),
        ("viewer", "TOKEN REVOKE", "refused"),
        ("admin", "SIGN IN", "done"),
        ("admin", "NODE LOCK", "done"),
    ]
    assert scheduler.nodes[0].locked
