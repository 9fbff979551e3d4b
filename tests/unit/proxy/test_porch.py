"""The porch, event by event, on a transport that only remembers."""

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

from services.proxy.api.porch import Keeper, Porch
from services.proxy.api.quick import Plain, Quick, Take
from services.proxy.api.wire import Bearing

INFO = b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """Remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reads = True
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class SlowAnswers(Quick):
    """Keeps who waits for an answer."""

    def __init__(self) -> None:
        nobody: Any = None
        super().__init__(nobody, b"")
        self.waiting: list[Take] = []

    def answer(self, plain: Plain, take: Take) -> Coroutine[Any, Any, None] | None:
        assert plain.question is None
        self.waiting.append(take)
        return None


def opened(answers: SlowAnswers, bearing: Bearing) -> tuple[Porch, FakeTransport]:
    """Let a client connect."""
    state: Any = SimpleNamespace(connections=set(), tasks=set(), default_headers=[(b"date", b"today")])
    porch, transport = Porch(keeper=Keeper(bearing, answers), server_state=state), FakeTransport()
    porch.connection_made(transport)
    return porch, transport


def bearing(connections_count: int = 10) -> Bearing:
    return Bearing(head_s=1.0, head_bytes=1000, connections_count=connections_count)


def came(porch: Porch, data: bytes) -> None:
    """Let the loop read something."""
    porch.get_buffer(-1)[: len(data)] = data
    porch.buffer_updated(len(data))


async def test_who_does_not_read_answers_is_not_read_either() -> None:
    answers = SlowAnswers()
    porch, transport = opened(answers, bearing())
    came(porch, INFO)
    porch.pause_writing()
    answers.waiting.pop()(b"{}")

    assert transport.written.endswith(b"\r\ncontent-length: 2\r\n\r\n{}")
    assert not transport.reads

    porch.resume_writing()
    assert transport.reads


async def test_what_comes_too_early_waits_its_turn() -> None:
    answers = SlowAnswers()
    porch, transport = opened(answers, bearing())
    came(porch, INFO)
    came(porch, INFO)
    assert (len(answers.waiting), transport.reads) == (1, False)

    answers.waiting.pop()(b"{}")
    assert (len(answers.waiting), transport.reads) == (1, True)

    answers.waiting.pop()(b"[]")
    assert transport.written.count(b"HTTP/1.1 200 OK") == 2


async def test_an_answer_for_who_has_left_goes_nowhere() -> None:
    answers, shared = SlowAnswers(), bearing()
    porch, transport = opened(answers, shared)
    came(porch, INFO)
    transport.abort()
    porch.connection_lost(None)
    answers.waiting.pop()(b"{}")

    assert (transport.written, shared.open_count) == (b"", 0)


async def test_at_a_stop_an_answer_under_way_is_the_last() -> None:
    answers = SlowAnswers()
    porch, transport = opened(answers, bearing())
    came(porch, INFO)
    porch.shutdown()
    assert not transport.closed

    answers.waiting.pop()(b"{}")
    assert b"connection: close\r\n" in transport.written
    assert transport.closed


async def test_at_a_stop_what_cannot_be_answered_begins_nowhere_else() -> None:
    answers = SlowAnswers()
    porch, transport = opened(answers, bearing())
    came(porch, INFO)
    porch.shutdown()
    answers.waiting.pop()(None)

    assert (transport.closed, transport.written) == (True, b"")


async def test_a_silent_connection_is_closed_at_a_stop() -> None:
    porch, transport = opened(SlowAnswers(), bearing())
    porch.shutdown()

    assert transport.closed


async def test_one_connection_too_many_is_closed_at_once() -> None:
    shared = bearing(connections_count=1)
    _, first = opened(SlowAnswers(), shared)
    porch, second = opened(SlowAnswers(), shared)
    assert (first.closed, second.closed) == (False, True)

    porch.connection_lost(None)
    assert shared.open_count == 1
