"""The connection of commands: NATS' protocol, and whatever is left to the larger one."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from clusterodm.libs.common.bus.short import MESSAGE_BYTES, ShortBus
from clusterodm.libs.common.bus.short_protocol import NotShort, plain_address
from clusterodm.libs.common.bus.urls import named_in
from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.messages.buckets import PROGRESS
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.nodes import (
    LIST_NODES,
    NODE_ADDED,
    REMOVE_NODE,
    ListNodes,
    NodeEvent,
    NodeList,
    NodeRef,
)
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.model.values import InstanceId, NodeId, TaskId
from clusterodm.libs.common.settings.addresses import ServerUrl
from clusterodm.services.admin.cli.api.session import answered

INFO = b'INFO {"headers":true,"server_id":"x","max_payload":1048576}\r\n'
NODES = msgspec.json.encode(NodeList(nodes=()))


class FakeNats:
    """A server that takes one connection, and answers each question with the next of some texts; `INBOX` becomes where it goes."""

    def __init__(self, info: bytes, answers: Sequence[bytes]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        self._info, self._answers = info, list(answers)
        self.heard = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, suppress(ConnectionError):  # whoever gives up does not read to the end
            connection.settimeout(10)
            connection.sendall(self._info)
            seen_count = 0
            while chunk := connection.recv(65536):
                self.heard += chunk
                lines = [line for line in self.heard.split(b"\r\n") if line.startswith(b"HPUB ")]
                while seen_count < len(lines):
                    inbox = lines[seen_count].split()[2]
                    if self._answers:
                        connection.sendall(self._answers.pop(0).replace(b"INBOX", inbox))
                    seen_count += 1

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)


@contextmanager
def a_nats(*answers: bytes, info: bytes = INFO) -> Iterator[FakeNats]:
    server = FakeNats(info, answers)
    try:
        yield server
    finally:
        server.close()


def msg(content: bytes, subject: bytes = b"INBOX") -> bytes:
    return b"MSG %s 1 %d\r\n%s\r\n" % (subject, len(content), content)


def hmsg(head: bytes, content: bytes = b"") -> bytes:
    return b"HMSG INBOX 1 %d %d\r\n%s%s\r\n" % (len(head), len(head) + len(content), head, content)


def nodes_by(url: str) -> NodeList:
    with ShortBus(url, "test", answer_s=0.3) as bus:
        return answered(bus.request(LIST_NODES, ListNodes()))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(msg(NODES), id="a message"),
        pytest.param(hmsg(b"NATS/1.0\r\nX: y\r\n\r\n", NODES), id="with headers"),
        pytest.param(b"PING\r\n" + msg(NODES), id="after a ping"),
        pytest.param(msg(b"other", b"elsewhere") + msg(NODES), id="after what is for somebody else"),
        pytest.param(b"+OK\r\nINFO {}\r\n" + msg(NODES), id="after news of the server"),
    ],
)
def test_a_question_is_answered(answer: bytes) -> None:
    with a_nats(answer) as server:
        assert nodes_by(server.url) == NodeList(nodes=())
        assert b"HPUB clusterodm.scheduler.list_nodes _INBOX." in server.heard
        assert b"Clusterodm-Cause: " in server.heard


def test_who_asks_is_said_with_a_password_or_a_token() -> None:
    with a_nats(msg(NODES)) as server:
        nodes_by(server.url.replace("//", "//operator:s3cret@"))
        assert b'"user":"operator","pass":"s3cret"' in server.heard
        assert b"SUB _INBOX.operator." in server.heard
    with a_nats(msg(NODES)) as server:
        nodes_by(server.url.replace("//", "//t0ken@"))
        assert b'"auth_token":"t0ken"' in server.heard


def test_what_a_handler_refused_is_raised() -> None:
    with (
        a_nats(hmsg(b"NATS/1.0\r\nNats-Service-Error-Code: refused\r\n\r\n", b"no")) as server,
        pytest.raises(Refused, match=r"^no$"),
    ):
        nodes_by(server.url)


def test_an_answer_that_is_none_is_said() -> None:
    with a_nats(msg(b"{")) as server, pytest.raises(BusFailed, match=r"answered scheduler\.list_nodes with nonsense"):
        nodes_by(server.url)


@pytest.mark.parametrize(
    ("info", "answers"),
    [
        pytest.param(INFO, [hmsg(b"NATS/1.0 503\r\n\r\n")], id="nobody answers"),
        pytest.param(INFO, [], id="no answer in time"),
        pytest.param(INFO, [b"-ERR 'Authorization Violation'\r\n"], id="a wrong password"),
        pytest.param(INFO, [b"-ERR 'Permissions Violation for Publish'\r\n"], id="no right to ask"),
        pytest.param(INFO, [b"MSG INBOX 1 many\r\n"], id="no size"),
        pytest.param(INFO, [b"MSG INBOX 1 %d\r\n" % (MESSAGE_BYTES + 1)], id="more than NATS lets through"),
        pytest.param(INFO, [b"x" * 200_000], id="a line without an end"),
        pytest.param(INFO, [b"WHAT\r\n"], id="no line of the protocol"),
        pytest.param(b'INFO {"headers":true,"tls_required":true}\r\n', [], id="TLS"),
        pytest.param(b'INFO {"headers":true,"nonce":"abc"}\r\n', [], id="keys"),
        pytest.param(b'INFO {"headers":false}\r\n', [], id="an old server"),
        pytest.param(b"INFO {\r\n", [], id="a broken greeting"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n", [], id="another protocol"),
        pytest.param(b"", [], id="silence"),
    ],
)
def test_what_is_not_plain_is_left_to_the_larger_connection(info: bytes, answers: list[bytes]) -> None:
    with a_nats(*answers, info=info) as server, pytest.raises(NotShort):
        nodes_by(server.url)


def test_nobody_who_listens_is_left_to_it_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"nats://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(NotShort):
        nodes_by(url)


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("nats://h", ServerUrl("nats", "", None, "h", 4222)),
        ("h:4223", ServerUrl("nats", "", None, "h", 4223)),
        ("nats://a:b@h:1/", ServerUrl("nats", "a", "b", "h", 1)),
        ("nats://a:b:c@h", ServerUrl("nats", "a", "b:c", "h", 4222)),
        ("nats://tok@[::1]:4224", ServerUrl("nats", "tok", None, "::1", 4224)),
    ],
)
def test_an_address_is_read(url: str, where: ServerUrl) -> None:
    assert plain_address(url) == where


@pytest.mark.parametrize("url", ["tls://h", "wss://h", "nats://a,nats://b", "nats://", "nats://h:port", ""])
def test_another_kind_of_address_is_left_to_it(url: str) -> None:
    with pytest.raises(NotShort):
        plain_address(url)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("nats://a:b@h:1,nats://c:d@h:2", ("a", "b")),
        ("nats://tok@h", ("", "")),
        ("nats://h", ("", "")),
        ("nonsense", ("", "")),
    ],
)
def test_a_user_is_named_in_the_first_of_several(url: str, named: tuple[str, str]) -> None:
    assert named_in(url) == named


def upload(number: int) -> bytes:
    told = UploadProgress(task=TaskId(f"t{number}"), instance=InstanceId("p"), name="n", created_at_ms=number)
    return msgspec.json.encode(told)


def uploads_by(url: str) -> list[str]:
    async def read() -> list[str]:
        with ShortBus(url, "test", answer_s=0.3) as bus:
            return [entry.value.task async for page in (await bus.bucket(PROGRESS)).pages() for entry in page]

    return answered(read())


def test_a_bucket_is_read_without_what_was_deleted_and_what_nobody_can_read() -> None:
    kept = b"NATS/1.0\r\nNats-Subject: $KV.progress.x\r\n\r\n"
    answer = b"".join(
        (
            hmsg(kept, upload(1)),
            hmsg(b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n"),
            hmsg(b"NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n"),
            hmsg(kept, b'{"later": "version"}'),
            hmsg(kept, upload(2)),
            hmsg(b"NATS/1.0 204 EOB\r\n\r\n"),
        )
    )
    with a_nats(answer) as server:
        assert uploads_by(server.url) == ["t1", "t2"]
        assert b'{"multi_last":["$KV.progress.>"],"batch":1024}' in server.heard


@pytest.mark.parametrize("status", [b"404 No Messages", b"503"])
def test_a_bucket_without_keys_or_that_nobody_made_is_empty(status: bytes) -> None:
    with a_nats(hmsg(b"NATS/1.0 " + status + b"\r\n\r\n")) as server:
        assert uploads_by(server.url) == []


def test_a_bucket_with_more_than_a_server_sends_at_once_is_left_to_the_larger_connection() -> None:
    with a_nats(hmsg(b"NATS/1.0 413 Too Many Results\r\n\r\n")) as server, pytest.raises(NotShort):
        uploads_by(server.url)


def test_what_would_wait_for_an_event_loop_is_a_mistake() -> None:
    class Waits:
        def __await__(self) -> Iterator[None]:
            yield

    async def waits() -> None:
        await Waits()

    with pytest.raises(RuntimeError, match="waits for something"):
        answered(waits())


def removed_by(url: str) -> Done:
    with ShortBus(url, "test", answer_s=0.3) as bus:
        return answered(bus.request(BRIEF_REMOVAL, NodeRef(node=NodeId("a-1"))))


BRIEF_REMOVAL = replace(REMOVE_NODE, timeout_s=0.3)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([], id="no answer in time"),
        pytest.param([b"PING\r\n"], id="no more than a sign of life"),
    ],
)
def test_what_must_not_be_asked_twice_and_may_have_been_heard_is_not_left_to_the_larger_connection(
    answers: list[bytes],
) -> None:
    with a_nats(*answers) as server, pytest.raises(BusFailed, match=r"no answer to scheduler\.remove_node"):
        removed_by(server.url)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(hmsg(b"NATS/1.0 503\r\n\r\n"), id="nobody heard it"),
        pytest.param(b"-ERR 'Permissions Violation for Publish'\r\n", id="no right to ask"),
    ],
)
def test_what_was_heard_by_nobody_may_be_asked_again(answer: bytes) -> None:
    with a_nats(answer) as server, pytest.raises(NotShort):
        removed_by(server.url)


def test_an_act_is_done_once() -> None:
    with a_nats(msg(b"{}")) as server:
        assert removed_by(server.url) == Done()


def published(url: str) -> None:
    with ShortBus(url, "test", answer_s=0.3) as bus:
        answered(bus.publish(NODE_ADDED, NodeEvent(at_ms=1, node=NodeId("a-1"))))


def test_an_event_is_published_and_the_server_has_it_before_the_connection_ends() -> None:
    with a_nats(b"PONG\r\n") as server:
        published(server.url)
    assert b"HPUB clusterodm.event.node.added " in server.heard
    assert b"Nats-Msg-Id: " in server.heard
    assert b'"node":"a-1"' in server.heard
    assert server.heard.endswith(b"PING\r\n")


@pytest.mark.parametrize("answer", [b"-ERR 'Permissions Violation for Publish'\r\n", b""])
def test_an_event_that_is_lost_is_a_line_in_the_log_and_nothing_is_done_again(answer: bytes) -> None:
    with a_nats(answer) as server, capture_logs() as logs:
        published(server.url)
    assert [(each["event"], each["message"]) for each in logs] == [("event.publish_failed", "node.added")]
