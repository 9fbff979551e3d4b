"""What the NATS library logs is a line of ours."""

import logging

import pytest
import structlog.testing
from nats.aio.client import Client
from nats.protocol.parser import Parser

from clusterodm.libs.common.bus.connection import LIBRARY, take_over


class OnePiece:
    """A transport with one piece to read."""

    def at_eof(self) -> bool:
        """Say whether there is an end."""
        return False

    async def read(self, _size: int) -> bytes:
        """Read it."""
        return b"PONG\r\n"


class Trouble:
    """What waits for an answer to a ping, and has gone."""

    def set_result(self, _value: object) -> None:
        """Be answered too late."""
        raise RuntimeError("nobody waits any more")


async def test_what_the_library_did_not_expect_is_one_line_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    take_over()
    take_over()
    client = Client()
    client._ps = Parser(client)
    client._transport = OnePiece()  # type: ignore[assignment]
    client._pongs = [Trouble()]  # type: ignore[list-item]
    with structlog.testing.capture_logs() as lines:
        await client._read_loop()
    [line] = [line for line in lines if line["event"] == "nats.library_reported"]
    assert (line["log_level"], line["said"]) == ("warning", "nats: encountered error")
    assert line["error"] == "RuntimeError('nobody waits any more')"
    assert "exc_info" not in line
    assert "Traceback" not in "".join(capsys.readouterr())


def test_what_it_says_of_addresses_holds_no_password() -> None:
    take_over()
    with structlog.testing.capture_logs() as lines:
        logging.getLogger(f"{LIBRARY}.js").warning("no answer of %s", "nats://user:s3cret@host:4222")
        logging.getLogger(f"{LIBRARY}.js").info("nobody needs to know")
    assert [line["said"] for line in lines] == ["no answer of nats://***@host:4222"]
