"""The requests that come in masses and are plain: /info, and info and output of a task, read without a parser.

A head is read by one expression that knows only what clients send when they poll. Anything else, however legal (another
method, a body, an origin, a strange query, a token that is wrong), is not read here: it goes the usual way, which knows all
of HTTP and says what is wrong. So this can only be quick, and never decide differently. The same bytes mean the same
again, so what has been read is remembered: pollers repeat themselves.
"""

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

from clusterodm.libs.common.http_io.sharing import Take
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.tenancy import ShownToken, shown
from clusterodm.libs.http1.server import USUAL_HEADS
from clusterodm.services.proxy.exchange.request import OK, parameters
from clusterodm.services.proxy.peers.handlers import MARK
from clusterodm.services.proxy.polling.core.task_info import line_number
from clusterodm.services.proxy.polling.handlers.coalesce import Poll, PollCoalescer
from clusterodm.services.proxy.server.endpoints import INFO, TASK_INFO, TASK_OUTPUT
from clusterodm.services.proxy.server.meter import RequestMeter
from clusterodm.services.proxy.tenants.ports import TokenChecker

LINES: Final = rb"((?:[\w-]+:[\t -~]*\r\n)*)\r\n"
NOT_PLAIN: Final = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"origin", b"te", b"trailer", MARK))
"""Lines that say that there is more to it."""
HEAD: Final = re.compile(
    rb"GET (?:/info|/task/(\w+-\w+-\w+-\w+-\w+)/(info|output))(?:\?([\w=&%.~+-]*))? HTTP/1\.1\r\n" + LINES
)
"""A whole request without a body, of visible ASCII."""
KEEPS: Final = {b"keep-alive": True, b"close": False}
HOST: Final = re.compile(rb"[\w.:\[\]-]+")
BEGINNING: Final = b"GET "
HEAD_LIMIT_BYTES: Final = 2048
"""Where an operator takes no heads of such a length, nothing is plain (listen.py)."""
REMEMBERED_COUNT: Final = 2048
PLAIN_PARAMETERS: Final = frozenset(("token", "with_output", "line"))


@dataclass(frozen=True, slots=True)
class PlainPoll:
    """A request that has been read."""

    poll: Poll | None
    """None: `/info`."""
    token: ShownToken
    keeps: bool
    """The connection goes on afterwards."""
    size_bytes: int
    account: ClassVar[str] = ""


class PollFastPath:
    """Reads plain requests, and answers them."""

    def __init__(self, polls: PollCoalescer, checker: TokenChecker, meter: RequestMeter | None = None) -> None:
        meter = meter or RequestMeter()
        self._info, self._task_info, self._output = (meter.of(each) for each in (INFO, TASK_INFO, TASK_OUTPUT))
        self._polls = polls
        self._checker = checker
        self._remembered: Callable[[bytes], PlainPoll | None] = lru_cache(REMEMBERED_COUNT)(self._read)

    def read(self, data: bytes) -> PlainPoll | None:
        """Read a request; None: it is not plain. What cannot be is not remembered: it may be the beginning of a photo."""
        return self._remembered(data) if len(data) <= HEAD_LIMIT_BYTES and data.startswith(BEGINNING) else None

    def answer(self, plain: PlainPoll, data: bytes, take: Take) -> Coroutine[Any, Any, None] | None:
        """Answer one."""
        del data  # all of it has been read
        tenant = self._checker.known(plain.token)  # what has been read is remembered, that its token counts is not
        if tenant is None:
            take(None)
            return None
        if plain.poll is None:
            take(self._polls.info(tenant))
            return None
        return self._polls.answer(plain.poll, tenant.account, take)

    def forget(self, plain: PlainPoll) -> None:
        """Hear that one goes the usual way: nothing is kept of it."""

    def count(self, plain: PlainPoll, seconds: float, sent_bytes: int) -> None:
        """Count an answer that is out."""
        poll = plain.poll
        meter = self._info if poll is None else self._output if poll.output else self._task_info
        meter.count(OK, seconds, 0, sent_bytes)

    def _read(self, data: bytes) -> PlainPoll | None:
        found = HEAD.fullmatch(data)
        plain = plain_lines(found[4]) if found else None
        if found is None or plain is None or b"content-length" in plain[0]:
            return None
        given = parameters(found[3] or b"")
        if not given.keys() <= PLAIN_PARAMETERS or any(len(values) > 1 for values in given.values()):
            return None
        return PlainPoll(poll_of(found[1], found[2], given), shown(given.get("token", [""])[0]), plain[1], len(data))


def plain_lines(lines: bytes) -> tuple[dict[bytes, bytes], bool] | None:
    """Read the lines of a head, and whether the connection goes on behind its request; None: they are not plain."""
    named = [line.partition(b":") for line in lines.splitlines()]
    headers = {name.lower(): value.strip() for name, _, value in named}
    if not len(headers) == len(named) <= USUAL_HEADS.lines_count or not NOT_PLAIN.isdisjoint(headers):
        return None
    keeps = KEEPS.get(headers.get(b"connection", b"keep-alive").lower())
    return (headers, keeps) if keeps is not None and HOST.fullmatch(headers.get(b"host", b"")) else None


def poll_of(task: bytes | None, action: bytes | None, given: dict[str, list[str]]) -> Poll | None:
    """Say what is asked about a task; None: nothing, it is about the cluster."""
    if task is None or action is None:
        return None
    if action == b"info":
        wanted = given.get("with_output")
        return Poll(TaskId(task.decode()), output=False, from_line=line_number(wanted[0]) if wanted else None)
    return Poll(TaskId(task.decode()), output=True, from_line=line_number(given.get("line", [""])[0]))
