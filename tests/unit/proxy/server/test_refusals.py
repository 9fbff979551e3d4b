"""server/refusals.py: who hears of trouble that may pass, and who is to ask again without having heard of it."""

from typing import Any

import pytest

from clusterodm.services.proxy.errors import ServerBusy
from clusterodm.services.proxy.server.refusals import apologise, put_off

TASK = "/task/11111111-2222-4333-8444-555555555555"


class Exchange:
    """As much of a request as matters here."""

    started = False

    def __init__(self, path: str) -> None:
        self.path = path
        self.answer: int | str = ""

    def drop(self) -> None:
        self.answer = "closed"

    async def refuse(self, message: str, status: int) -> None:
        assert message
        self.answer = status


@pytest.mark.parametrize(
    ("path", "busy", "failed"),
    [
        pytest.param(f"{TASK}/info", "closed", "closed", id="info"),
        pytest.param(f"{TASK}/output", "closed", "closed", id="output"),
        pytest.param("/task/list", "closed", "closed", id="the list of tasks"),
        pytest.param("/task/new/init", 503, 500, id="no poll"),
    ],
)
async def test_a_poll_is_closed_and_never_told_of_trouble(path: str, busy: int | str, failed: int | str) -> None:
    exchange: Any = Exchange(path)
    await put_off(exchange, ServerBusy("Tokens cannot be checked at the moment, please try again."))
    assert exchange.answer == busy
    await apologise(exchange)
    assert exchange.answer == failed
