"""A client's connection, event by event, on a transport that only remembers."""

import asyncio
import gc
import resource
import tracemalloc
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE, RequestCycle, ResponseContext
from clusterodm.libs.common.http_io.scope import Receive, Scope, Send
from clusterodm.libs.common.http_io.server import BODY_S, Connection
from clusterodm.libs.common.http_io.sharing import Connections, Take, admitted_count
from clusterodm.libs.http1.heads import HeadLimits
from clusterodm.libs.http1.server import NEVER_S, ServerLimits, ServerSide
from clusterodm.services.proxy.server.fast_path import PlainPoll, PollFastPath
from tests.connections import LIMITS, FakeTransport, came, echo, opened

INFO = b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n"


class SlowAnswers(PollFastPath):
    """Keeps who waits for an answer."""

    def __init__(self) -> None:
        nobody: Any = None
        super().__init__(nobody, b"")
        self.waiting: list[Take] = []

    def answer(self, plain: PlainPoll, data: bytes, take: Take) -> Coroutine[Any, Any, None] | None:
        assert (plain.poll, plain.size_bytes) == (None, len(data))
        self.waiting.append(take)
        return None


async def passed() -> None:
    """Let tasks run."""
    for _ in range(5):
        await asyncio.sleep(0)


# --- plain requests ------------------------------------------------------------------------------------------------


async def test_who_does_not_read_answers_is_not_read_either() -> None:
    answers = SlowAnswers()
    connection, transport = opened(answers)
    came(connection, INFO)
    connection.pause_writing()
    answers.waiting.pop()(b"{}")

    assert transport.written.endswith(b"\r\ncontent-length: 2\r\n\r\n{}")
    assert not transport.reads

    connection.resume_writing()
    assert transport.reads


async def test_what_comes_too_early_waits_its_turn() -> None:
    answers = SlowAnswers()
    connection, transport = opened(answers)
    came(connection, INFO)
    came(connection, INFO)
    assert (len(answers.waiting), transport.reads) == (1, False)

    answers.waiting.pop()(b"{}")
    assert (len(answers.waiting), transport.reads) == (1, True)

    answers.waiting.pop()(b"[]")
    assert transport.written.count(b"HTTP/1.1 200 OK") == 2


async def test_who_does_not_read_gets_no_second_answer() -> None:
    answers = SlowAnswers()
    connection, transport = opened(answers)
    came(connection, INFO)
    came(connection, INFO)
    connection.pause_writing()
    answers.waiting.pop()(b"{}")
    assert (len(answers.waiting), transport.reads) == (0, False)

    connection.resume_writing()
    answers.waiting.pop()(b"[]")

    assert (transport.written.count(b"HTTP/1.1 200 OK"), transport.reads) == (2, True)


async def test_an_answer_for_who_has_left_goes_nowhere() -> None:
    answers = SlowAnswers()
    shared = Connections(LIMITS, 10, [answers])
    connection, transport = opened(shared=shared)
    came(connection, INFO)
    transport.abort()
    connection.connection_lost(None)
    answers.waiting.pop()(b"{}")

    assert (transport.written, shared.present) == (b"", set())


async def test_at_a_stop_an_answer_under_way_is_the_last() -> None:
    answers = SlowAnswers()
    connection, transport = opened(answers)
    came(connection, INFO)
    connection.shutdown()
    assert not transport.closed

    answers.waiting.pop()(b"{}")
    assert b"connection: close\r\n" in transport.written
    assert transport.closed


async def test_at_a_stop_what_cannot_be_answered_plainly_is_answered_the_usual_way_and_is_the_last() -> None:
    answers = SlowAnswers()
    connection, transport = opened(answers)
    came(connection, INFO)
    connection.shutdown()
    answers.waiting.pop()(None)
    await passed()

    assert transport.written.endswith(b"\r\nconnection: close\r\ncontent-length: 5\r\n\r\n/info")
    assert transport.closed


# --- plain requests with a body ------------------------------------------------------------------------------------

HEAD = b"PUT /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"
PUT = HEAD + b"photo"


@dataclass
class Small:
    """A request that was read."""

    size_bytes: int = len(PUT)
    keeps: bool = True
    account: str = ""


class SmallBodies:
    """Reads PUT, and keeps who waits for an answer."""

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, Take]] = []
        self.forgotten: list[Small] = []
        self.counted: list[int] = []

    def read(self, data: bytes) -> Small | None:
        return Small() if data.startswith(HEAD) else None

    def answer(self, plain: Small, data: bytes, take: Take) -> None:
        assert plain.size_bytes == len(data)
        self.waiting.append((data, take))

    def forget(self, plain: Small) -> None:
        self.forgotten.append(plain)

    def count(self, plain: Small, seconds: float, sent_bytes: int) -> None:
        assert plain.keeps
        assert seconds >= 0
        self.counted.append(sent_bytes)


@pytest.mark.parametrize("cut", [len(HEAD), len(HEAD) + 1, len(PUT) - 1])
async def test_the_body_of_a_plain_request_is_waited_for(cut: int) -> None:
    answers = SmallBodies()
    connection, transport = opened(answers)
    came(connection, PUT[:cut])
    assert answers.waiting == []

    came(connection, PUT[cut:])
    ((data, take),) = answers.waiting
    take(b"{}")

    assert (data, answers.counted, answers.forgotten) == (PUT, [2], [])
    assert transport.written.endswith(b"\r\ncontent-length: 2\r\n\r\n{}")


@pytest.mark.parametrize("cut", [0, 1, len(INFO), len(INFO) - 1])
async def test_what_comes_behind_a_body_waits_its_turn(cut: int) -> None:
    answers, polls = SmallBodies(), SlowAnswers()
    connection, transport = opened(shared=Connections(LIMITS, 10, [polls, answers]))
    came(connection, PUT[:-2])
    came(connection, PUT[-2:] + NEXT[:cut])
    came(connection, NEXT[cut:])
    await passed()
    assert (transport.written, transport.reads) == (b"", False)

    answers.waiting.pop()[1](b"{}")
    await passed()

    assert transport.written.index(b"{}") < transport.written.index(b"/next")
    assert transport.reads


async def test_a_body_that_does_not_come_is_waited_for_the_usual_way() -> None:
    answers = SmallBodies()
    connection, transport = opened(answers)
    came(connection, PUT[:-2])
    assert connection.until_s <= connection.loop.time() + BODY_S
    connection.expire(connection.until_s)
    await passed()
    assert (len(answers.forgotten), transport.closed, connection.until_s) == (1, False, NEVER_S)

    came(connection, PUT[-2:])
    await passed()

    assert transport.written.endswith(b"\r\n\r\nphoto")
    assert (answers.waiting, answers.counted) == ([], [])


async def test_who_leaves_before_the_body_has_come_is_one_who_has_left_the_usual_way() -> None:
    said: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del send
        said.extend((scope["path"], (await receive())["type"]))

    answers = SmallBodies()
    readers_count = Connection.SPACE.readers_count
    connection, transport = opened(answers, app=app)
    came(connection, PUT[:-2])
    transport.abort()
    connection.connection_lost(None)
    await passed()

    assert said == ["/plain", "http.disconnect"]
    assert (len(answers.forgotten), Connection.SPACE.readers_count) == (1, readers_count)


async def test_what_is_carried_out_is_counted_also_when_its_client_has_left() -> None:
    answers = SmallBodies()
    connection, transport = opened(answers)
    came(connection, PUT)
    transport.abort()
    connection.connection_lost(None)
    answers.waiting.pop()[1](b"{}")

    assert (transport.written, answers.counted) == (b"", [2])


async def test_a_plain_request_that_is_not_answered_plainly_goes_the_usual_way_with_what_is_behind_it() -> None:
    answers = SmallBodies()
    connection, transport = opened(answers)
    came(connection, PUT + NEXT)
    answers.waiting.pop()[1](None)
    await passed()

    assert transport.written.index(b"photo") < transport.written.index(b"/next")
    assert answers.counted == []


async def test_what_goes_on_behind_an_answer_is_awaited() -> None:
    done: list[str] = []

    async def behind() -> None:
        done.append("behind")

    answers = SmallBodies()
    connection, transport = opened(answers)
    came(connection, PUT)
    answers.waiting.pop()[1](b"{}", behind())
    assert (transport.written[-2:], done) == (b"{}", [])

    await passed()
    assert done == ["behind"]


CLOSING = INFO.replace(b"host: x", b"host: x\r\nconnection: close")


@pytest.mark.parametrize("stops", [False, True], ids=["its client wants that", "at a stop"])
async def test_an_answer_that_is_the_last_is_not_lost_by_what_has_come_behind_its_request(stops: bool) -> None:
    answers = SlowAnswers()
    connection, transport = opened(answers)
    came(connection, INFO if stops else CLOSING)
    came(connection, b"\r\n")
    if stops:
        connection.shutdown()
    answers.waiting.pop()(b"{}")
    came(connection, INFO * 3)

    assert (transport.half_closed, transport.closed, transport.reads) == (True, False, True)
    assert b"\r\nconnection: close\r\n" in transport.written
    assert transport.written.endswith(b"{}")

    connection.expire(connection.until_s)
    assert transport.closed


async def test_what_waits_until_an_answer_is_read_has_the_same_room() -> None:
    answers = SlowAnswers()
    shared = Connections(ROOMY, 10, [answers], room_bytes=20_000)

    def early(connection: Connection) -> None:
        came(connection, INFO)
        came(connection, INFO * 400)

    unread = [opened(shared=shared) for _ in range(2)]
    for connection, _ in unread:
        early(connection)
        connection.pause_writing()
        answers.waiting.pop()(b"{}")
    another, transport = opened(shared=shared)
    early(another)
    assert transport.aborted

    unread[0][0].connection_lost(None)
    another, transport = opened(shared=shared)
    early(another)
    assert not transport.aborted


async def test_a_body_is_waited_for_no_longer_because_answers_before_it_are_unread() -> None:
    answers = SmallBodies()
    connection, transport = opened(answers)
    came(connection, PUT[:-2])
    connection.pause_writing()
    assert (transport.reads, connection.until_s <= connection.loop.time() + BODY_S) == (True, True)

    came(connection, PUT[-2:])
    answers.waiting.pop()[1](b"{}")
    assert not transport.reads

    connection.resume_writing()
    assert transport.reads


class LostTransport(FakeTransport):
    """One whose client has no address any more once it has gone, as over TLS."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self.closed and name == "peername" else super().get_extra_info(name, default)


@pytest.mark.parametrize("at_the_end", [False, True])
async def test_of_who_has_gone_before_the_answer_the_log_says_who_it_was(at_the_end: bool) -> None:
    said: list[tuple[object, ...]] = []
    answers = SlowAnswers()
    shared = Connections(
        *(LIMITS, 10, [answers]),
        heard=None if at_the_end else lambda *line: said.append(line),
        answered_plainly=(lambda *line: said.append(line[:1])) if at_the_end else None,
    )
    connection, transport = opened(shared=shared, transport=LostTransport(address="192.0.2.7"))
    came(connection, INFO)
    transport.abort()
    connection.connection_lost(None)
    answers.waiting.pop()(b"{}")

    assert said == [("192.0.2.7",) if at_the_end else ("192.0.2.7", b"/info")]


async def test_of_who_has_gone_before_its_body_the_application_hears_who_it_was() -> None:
    said: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        said.append(scope["client"])

    shared = Connections(LIMITS, 10, [SmallBodies()], heard=lambda *line: said.append(line))
    connection, transport = opened(shared=shared, app=app, transport=LostTransport(address="192.0.2.7"))
    came(connection, PUT[:-2])
    transport.abort()
    connection.connection_lost(None)
    await passed()

    assert said == [("192.0.2.7", b"/plain"), ("192.0.2.7", 1)]


@pytest.mark.parametrize("whole", [True, False], ids=["its answer is under way", "its body is to come"])
async def test_at_a_stop_a_plain_request_with_a_body_is_the_last(whole: bool) -> None:
    answers = SmallBodies()
    connection, transport = opened(answers)
    came(connection, PUT if whole else PUT[:-1])
    connection.shutdown()
    came(connection, b"" if whole else PUT[-1:])
    answers.waiting.pop()[1](b"{}")

    assert b"\r\nconnection: close\r\n" in transport.written
    assert transport.closed


async def test_a_silent_connection_is_closed_at_a_stop() -> None:
    connection, transport = opened()
    connection.shutdown()

    assert transport.closed


async def test_one_connection_too_many_is_closed_at_once() -> None:
    shared = Connections(LIMITS, 1)
    first, transport = opened(shared=shared)
    came(first, POST[:-1])
    _, second = opened(shared=shared)
    assert (transport.closed, second.closed) == (False, True)

    first.connection_lost(None)
    assert shared.present == set()


async def test_a_silent_flood_shuts_nobody_out() -> None:
    shared = Connections(LIMITS, 3, [SlowAnswers()])
    flood = [opened(shared=shared)[1] for _ in range(9)]
    asking, working = opened(shared=shared)
    came(asking, NEXT)
    more = [opened(shared=shared)[1] for _ in range(9)]
    await passed()

    assert b"/next" in working.written
    assert not working.closed
    assert [each.closed for each in flood] == [True] * 9
    assert [each.closed for each in more] == [True] * 7 + [False] * 2


async def test_half_a_head_is_as_good_as_none() -> None:
    shared = Connections(LIMITS, 1)
    slow, transport = opened(shared=shared)
    came(slow, b"GET / HT")
    _, newcomer = opened(shared=shared)

    assert (transport.closed, newcomer.closed) == (True, False)


HALF = b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 60
"""Some 10 KB in memory."""
ROOMY = ServerLimits(head_s=1.0, keep_alive_s=2.0, head=HeadLimits(16384), linger_s=1.0)


async def test_heads_that_are_not_complete_have_one_room_and_the_oldest_gives_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared = Connections(ROOMY, 10, room_bytes=20_000)
    flood = [opened(shared=shared) for _ in range(6)]
    for connection, _ in flood:
        came(connection, HALF)
    assert [transport.aborted for _, transport in flood] == [True] * 3 + [False] * 3

    came(flood[3][0], b"c: d\r\n")  # who drips does not become younger
    came(flood[0][0], b"")
    connection, transport = opened(shared=shared)
    came(connection, HALF)
    assert [other.aborted for _, other in flood] == [True] * 4 + [False] * 2
    came(connection, b"\r\n")
    await passed()
    assert transport.written.endswith(b"/")
    assert capsys.readouterr().out.count("connections.closed_waiting") == 1


async def test_heads_of_requests_under_way_stay_and_who_wants_more_than_there_is_gives_way() -> None:
    shared = Connections(ROOMY, 10, room_bytes=20_000)
    under_way = [opened(shared=shared) for _ in range(3)]
    for connection, _ in under_way:
        came(connection, HALF.replace(b"GET", b"POST") + b"content-length: 3\r\n\r\n")
    greedy, modest = opened(shared=shared), opened(shared=shared)
    came(greedy[0], HALF)
    came(modest[0], b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
    await passed()
    assert [transport.aborted for _, transport in (*under_way, greedy, modest)] == [False] * 3 + [True, False]
    assert modest[1].written.endswith(b"/a")

    for connection, transport in under_way:
        came(connection, b"yes")
        await passed()
        assert transport.written.endswith(b"yes")
    another, transport = opened(shared=shared)
    came(another, HALF)
    assert not transport.aborted


async def test_what_comes_before_its_turn_has_the_same_room() -> None:
    answers = SlowAnswers()
    shared = Connections(ROOMY, 10, [answers], room_bytes=20_000)
    early = [opened(shared=shared) for _ in range(3)]
    for connection, _ in early:
        came(connection, INFO)
        came(connection, INFO * 400)
    assert [transport.aborted for _, transport in early] == [False, False, True]
    early[0][0].connection_lost(None)
    connection, transport = opened(shared=shared)
    came(connection, INFO)
    came(connection, INFO * 400)
    assert not transport.aborted


class TurnedClock:
    """The clock of connections, turned by a test."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


def behind(shared: Connections, unsent_bytes: int, clock: Any = None) -> tuple[Connection, FakeTransport]:
    """Let a client connect that does not read what it is answered."""
    connection, transport = opened(shared=shared)
    connection.loop = clock or connection.loop
    transport.unsent_bytes = unsent_bytes
    connection.pause_writing()
    return connection, transport


async def test_answers_that_are_not_read_have_one_room_and_the_slowest_gives_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared = Connections(LIMITS, 10, unread_room_bytes=30_000)
    clients = [behind(shared, 10_000) for _ in range(3)]
    clients[0][1].unsent_bytes = 4_000  # it reads
    clients.append(behind(shared, 10_000))
    assert [transport.aborted for _, transport in clients] == [False, True, False, False]

    clients[2][0].resume_writing()
    clients[3][0].connection_lost(None)
    clients += [behind(shared, 10_000), behind(shared, 10_000)]
    assert [transport.aborted for _, transport in clients] == [False, True, False, False, False, False]
    clients.append(behind(shared, 10_000))
    assert [transport.aborted for _, transport in clients] == [False, True, False, False, True, False, False]
    assert capsys.readouterr().out.count("connections.closed_waiting") == 1


async def test_who_takes_a_byte_now_and_then_is_slower_than_who_has_just_been_answered() -> None:
    shared, clock = Connections(LIMITS, 10, unread_room_bytes=25_000), TurnedClock()
    sipping = [behind(shared, 10_000, clock) for _ in range(2)]
    clock.now_s = 60.0
    for _, transport in sipping:
        transport.unsent_bytes -= 60
    others = [behind(shared, 10_000, clock) for _ in range(2)]
    assert [transport.aborted for _, transport in (*sipping, *others)] == [True, True, False, False]

    clock.now_s = 62.0
    others[0][1].unsent_bytes = 2_000
    others.append(behind(shared, 10_000, clock))
    assert [transport.aborted for _, transport in others] == [False, True, False]


async def test_one_answer_may_be_longer_than_the_room_until_another_is_not_read() -> None:
    shared = Connections(LIMITS, 10, unread_room_bytes=1_000)
    first = behind(shared, 50_000)
    assert not first[1].aborted
    second = behind(shared, 2_000)
    assert (first[1].aborted, second[1].aborted) == (True, False)


async def test_of_a_body_that_nobody_takes_yet_one_read_is_kept() -> None:
    turn = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await turn.wait()
        await echo(scope, receive, send)

    connection, transport = opened(app=waits)
    came(connection, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
    await passed()
    assert transport.reads
    came(connection, b"one")
    assert not transport.reads

    turn.set()
    await passed()
    assert transport.reads
    came(connection, b"twothr")
    await passed()
    assert transport.written.endswith(b"onetwothr")


async def test_a_body_that_comes_in_bits_takes_no_more_than_its_bytes() -> None:
    cycle = RequestCycle(opened()[0], ResponseContext(False, keeps=True, may_chunk=True, awaits_continue=False))
    cycle.low_water_bytes = 1 << 20
    bits = [b"%02d" % (number % 100) for number in range(50_000)]
    tracemalloc.start()
    try:
        for bit in bits:
            cycle.take(bit + b"x")
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 2 * cycle.waiting_bytes
    cycle.end_body()
    assert (await cycle.receive())["body"] == b"x".join(bits) + b"x"


@pytest.mark.parametrize("answers", [None, SlowAnswers()], ids=["all of HTTP", "fast path"])
async def test_where_few_are_expected_who_waits_between_two_requests_gives_way_after_the_silent_ones(
    answers: SlowAnswers | None,
) -> None:
    shared = Connections(LIMITS, 2, [answers] if answers else [], silent_per_address_count=2)
    resting, first = opened(shared=shared)
    came(resting, INFO if answers else NEXT)
    if answers:
        answers.waiting.pop()(b"{}")
    await passed()
    _, silent = opened(shared=shared)
    working, busy = opened(shared=shared)
    assert (first.closed, silent.closed) == (False, True)
    came(working, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")

    _, newcomer = opened(shared=shared)

    assert (first.closed, busy.closed, newcomer.closed) == (True, False, False)


@pytest.mark.parametrize(("silent_per_address_count", "aborted"), [(3, [False, False, True]), (None, [False] * 3)])
async def test_where_few_are_expected_and_all_are_at_work_the_slowest_reader_gives_way(
    silent_per_address_count: int | None, aborted: list[bool]
) -> None:
    shared = Connections(LIMITS, 3, silent_per_address_count=silent_per_address_count)
    clients = [opened(shared=shared) for _ in range(3)]
    for connection, _ in clients:
        came(connection, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")
    for connection, transport in clients[1:]:
        transport.unsent_bytes = 9_000
        connection.pause_writing()
    clients[1][1].unsent_bytes = 4_000  # it reads

    _, newcomer = opened(shared=shared)

    assert [transport.aborted for _, transport in clients] == aborted
    assert newcomer.closed is not any(aborted)


@pytest.mark.parametrize(
    ("before", "address", "closed"),
    [
        (["192.0.2.1", "192.0.2.1"], "192.0.2.1", [True, False]),
        (["192.0.2.1", "192.0.2.1"], "::ffff:192.0.2.1", [True, False]),
        (["192.0.2.1", "192.0.2.1"], "192.0.2.2", [False, False]),
        (["2001:db8::1", "2001:db8::2"], "2001:db8::3", [True, False]),
        (["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::3", [False, False]),
    ],
)
async def test_an_address_has_so_many_silent_connections(before: list[str], address: str, closed: list[bool]) -> None:
    shared = Connections(LIMITS, 10, silent_per_address_count=2, silent_s=0.0)
    silent = [opened(shared=shared, transport=FakeTransport(address=each))[1] for each in before]
    _, newcomer = opened(shared=shared, transport=FakeTransport(address=address))

    assert [each.closed for each in silent] == closed
    assert not newcomer.closed


async def test_a_burst_of_connections_of_one_address_is_not_silent_yet() -> None:
    shared = Connections(LIMITS, 10, silent_per_address_count=2)
    burst = [opened(shared=shared)[1] for _ in range(8)]

    assert not any(each.closed for each in burst)


def test_there_are_never_more_connections_than_open_files_allow(capsys: pytest.CaptureFixture[str]) -> None:
    limit_count, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert admitted_count(10) == 10
    assert admitted_count(limit_count + 1) < limit_count
    assert "connections.limited" in capsys.readouterr().out


# --- everything else -----------------------------------------------------------------------------------------------

NEXT = b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"


async def test_a_good_answer_comes_before_what_is_said_of_nonsense_behind_it() -> None:
    connection, transport = opened()
    came(connection, NEXT + b"nonsense\r\n\r\n")
    await passed()

    assert transport.written.index(b"/next") < transport.written.index(b"400 Bad Request")
    assert (transport.half_closed, transport.closed) == (True, False), (
        "closed at once, the client might lose the answer"
    )


async def test_one_request_at_a_time_goes_to_the_application() -> None:
    begun: list[str] = []
    release = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(scope["path"])
        await release.wait()
        await echo(scope, receive, send)

    connection, transport = opened(app=slow)
    came(connection, NEXT * 100)
    await passed()
    assert (begun, transport.reads) == (["/next"], False)

    release.set()
    for _ in range(100):
        await passed()
    assert (len(begun), transport.reads, transport.written.count(b"200 OK")) == (100, True, 100)


async def test_who_does_not_read_gets_no_next_request_done() -> None:
    connection, transport = opened()
    came(connection, NEXT * 3)
    connection.pause_writing()
    await passed()
    assert transport.written == b""

    connection.resume_writing()
    await passed()
    await passed()
    await passed()
    assert transport.written.count(b"200 OK") == 3


async def test_a_body_is_given_to_the_application_and_the_next_request_follows() -> None:
    connection, transport = opened()
    came(connection, POST + NEXT)
    await passed()
    await passed()

    assert transport.written.index(b"hello") < transport.written.index(b"/next")


async def test_a_body_that_is_none_ends_its_request_with_one_answer() -> None:
    connection, transport = opened()
    came(connection, b"POST /p HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnonsense")
    await passed()

    assert transport.written.count(b"HTTP/1.1") == 1
    assert b"400 Bad Request" in transport.written


async def test_thousands_of_chunks_of_one_byte_are_a_few_pieces() -> None:
    told: list[bytes] = []

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, send
        while (message := await receive())["type"] == "http.request":
            told.append(message["body"])

    connection, transport = opened(app=counting)
    came(connection, b"POST /p HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(10):
        if transport.reads:
            came(connection, b"1\r\na\r\n" * 1000)
        await passed()
    connection.connection_lost(None)

    assert (b"".join(told), len(told)) == (b"a" * 10_000, 10)


async def test_a_body_that_comes_byte_by_byte_while_nobody_takes_it_is_one_piece() -> None:
    told: list[bytes] = []
    release = asyncio.Event()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, send
        await release.wait()
        while (message := await receive())["type"] == "http.request":
            told.append(message["body"])

    connection, _ = opened(app=late)
    came(connection, b"POST /p HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(500):
        came(connection, b"a")
    release.set()
    await passed()
    connection.connection_lost(None)

    assert told == [b"a" * 500]


EXPECTING = b"POST /p HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"


@pytest.mark.parametrize("in_one_write", [True, False])
async def test_behind_an_answer_to_a_body_that_nobody_asked_for_the_connection_ends(in_one_write: bool) -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if in_one_write:
            await scope["extensions"][REQUEST_CYCLE].answer(401, [], b"")
            return
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    connection, transport = opened(app=refuse)
    came(connection, EXPECTING)
    await passed()
    came(connection, NEXT)
    await passed()

    assert transport.written.count(b"HTTP/1.1") == 1
    assert b"connection: close\r\n" in transport.written
    assert transport.half_closed


async def test_behind_a_body_that_was_asked_for_the_connection_goes_on() -> None:
    connection, transport = opened()
    came(connection, EXPECTING)
    await passed()
    came(connection, b"hello" + NEXT)
    await passed()
    await passed()

    assert transport.written.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert transport.written.endswith(b"/next")


async def test_over_tls_too_a_client_may_send_on_until_it_has_read_that_it_is_refused() -> None:
    connection, transport = opened(transport=FakeTransport(secure=True))
    came(connection, b"nonsense\r\n\r\n")
    came(connection, b"and the rest of it")

    assert (transport.half_closed, transport.closed, transport.reads) == (False, False, True)
    assert connection.until_s < asyncio.get_running_loop().time() + LIMITS.linger_s + 1

    connection.expire(connection.until_s)

    assert (transport.closed, transport.aborted) == (True, False)


async def test_an_application_that_fails_is_answered_for() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError(scope["path"])

    connection, transport = opened(app=broken)
    came(connection, NEXT)
    await passed()

    assert transport.written.startswith(b"HTTP/1.1 500 ")
    assert transport.closed


async def test_an_answer_that_breaks_its_word_is_cut() -> None:
    async def short(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"12345"})

    connection, transport = opened(app=short)
    came(connection, NEXT)
    await passed()

    assert transport.closed


@pytest.mark.parametrize("line", [(b"location", b"/a\r\nset-cookie: b"), (b"a b", b"c"), (b"a", b"\x00")])
async def test_a_header_line_is_never_two(line: tuple[bytes, bytes]) -> None:
    async def injected(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [line]})

    connection, transport = opened(app=injected)
    came(connection, NEXT)
    await passed()

    assert transport.written.startswith(b"HTTP/1.1 500 ")
    assert b"cookie" not in transport.written


async def test_a_connection_that_is_cut_leaves_nothing_for_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        for cut_at in (len(NEXT), len(POST) - 2, len(POST), 10):
            connection, transport = opened(SlowAnswers())
            came(connection, NEXT + POST[:cut_at] + NEXT * 50)
            came(connection, NEXT * 50)
            transport.abort()
            connection.connection_lost(ConnectionResetError())
            await passed()
            del connection, transport
        left = [each for each in gc.get_objects() if isinstance(each, Connection | RequestCycle | ServerSide)]
    finally:
        gc.enable()

    assert left == []


async def test_requests_that_are_none_are_mentioned_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    shared = Connections(LIMITS, 1000)
    for _ in range(500):
        connection, _ = opened(shared=shared)
        came(connection, b"nonsense\r\n\r\n")

    assert capsys.readouterr().out.count("request.refused") <= 2


async def test_whoever_misses_the_time_is_aborted_unless_it_reads() -> None:
    connection, transport = opened()
    came(connection, NEXT)
    await passed()
    transport.unsent_bytes = 100
    connection.expire(5.0)
    assert (transport.closed, connection.until_s) == (False, 5.0 + LIMITS.keep_alive_s)

    connection.expire(10.0)

    assert transport.closed


async def test_each_request_is_heard_of_once_on_either_way() -> None:
    heard: list[tuple[str, bytes]] = []
    answers = SlowAnswers()
    connection, _ = opened(shared=Connections(LIMITS, 10, [answers], lambda *said: heard.append(said)))
    came(connection, b"GET /info?token=1 HTTP/1.1\r\nhost: a\r\n\r\n")
    came(connection, b"GET /info HTTP/1.1\r\nhost: a\r\n\r\n")
    answers.waiting[0](b"{}")
    answers.waiting[1](None)
    assert heard == [("-", b"/info?token=1"), ("-", b"/info")]


# --- bodies that are taken in one piece ----------------------------------------------------------------------------


async def test_an_application_that_wants_much_at_once_is_woken_once() -> None:
    pieces: list[bytes] = []

    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        del send
        cycle = scope["extensions"][REQUEST_CYCLE]
        cycle.low_water_bytes = 50_000
        more = True
        while more:
            message = await receive()
            pieces.append(message["body"])
            more = message["more_body"]
        await cycle.answer(200, [], b"")

    connection, transport = opened(app=patient)
    came(connection, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
    await passed()
    for _ in range(6):
        assert transport.reads
        came(connection, bytes(10_000))
        await passed()

    assert [len(piece) for piece in pieces] == [50_000, 10_000]
    assert b"200 OK" in transport.written


async def test_a_body_that_ends_before_is_received_as_it_is() -> None:
    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][REQUEST_CYCLE].low_water_bytes = 50_000
        await echo(scope, receive, send)

    connection, transport = opened(app=patient)
    came(connection, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo")
    await passed()
    assert transport.written == b""
    came(connection, b"dy")
    await passed()
    assert transport.written.endswith(b"\r\n\r\nbody")
