"""Bytes that move inside the kernel, between real sockets and files."""

import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clusterodm.services.proxy.splice.kernel_pipes import PIPE_BYTES, Splice, SpliceSlots
from clusterodm.services.proxy.splice.moves import SocketToFile, SocketToSocket
from tests.waiting import until_sync

DELIMITER = b"\r\n--boundary"
BEFORE = b"already there"
NOISE = random.Random(1).randbytes(5 << 20).replace(b"\r", b".")


@contextmanager
def moving(move: Splice) -> Iterator[None]:
    """Let a thread move while the block runs; afterwards it has ended."""
    thread = threading.Thread(target=move.run, args=[SpliceSlots(1)])
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=20)
        assert not thread.is_alive()
        move.close()


@pytest.fixture
def client() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection; ours does not block, as an event loop's."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as theirs:
        ours, _ = server.accept()
        with ours:
            ours.setblocking(False)
            yield theirs, ours


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A file with a beginning."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(opened, BEFORE)
    yield opened
    os.close(opened)


def size(file: int) -> int:
    """How long a file is at this moment."""
    return os.fstat(file).st_size


def content(file: int) -> bytes:
    """What a file holds."""
    return os.pread(file, size(file), 0)


Sockets = tuple[socket.socket, socket.socket]


@pytest.mark.parametrize("cut", range(1, len(DELIMITER)))
def test_a_delimiter_that_comes_in_two_pieces_is_found(client: Sockets, file: int, cut: int) -> None:
    theirs, ours = client
    fill = SocketToFile(ours.fileno(), file, len(BEFORE), 10_000, DELIMITER)
    with moving(fill):
        theirs.sendall(b"pixels" + DELIMITER[:cut])
        until_sync(lambda: size(file) == len(BEFORE) + 6 + cut)
        theirs.sendall(DELIMITER[cut:] + b"--\r\n")

    assert content(file) == BEFORE + b"pixels"
    assert (fill.rest, fill.drawn_bytes) == (DELIMITER + b"--\r\n", 6 + len(DELIMITER) + 4)


@pytest.mark.parametrize("cut", range(1, len(DELIMITER)))
def test_what_may_begin_a_delimiter_is_left_to_the_parser(client: Sockets, file: int, cut: int) -> None:
    theirs, ours = client
    fill = SocketToFile(ours.fileno(), file, len(BEFORE), 10_000, DELIMITER)
    with moving(fill):
        theirs.sendall(b"pixels" + DELIMITER[:cut])
        theirs.shutdown(socket.SHUT_WR)

    assert (content(file), fill.rest) == (BEFORE + b"pixels", DELIMITER[:cut])


def test_what_is_long_is_stored_whole(client: Sockets, file: int) -> None:
    theirs, ours = client
    fill = SocketToFile(ours.fileno(), file, len(BEFORE), len(NOISE), DELIMITER)
    with moving(fill):
        theirs.sendall(NOISE + b"next request")

    assert content(file) == BEFORE + NOISE
    assert (fill.rest, fill.drawn_bytes, theirs.fileno() > 0) == (b"", len(NOISE), True)
    assert ours.recv(100) == b"next request"


def test_a_client_that_is_silent_frees_the_thread(client: Sockets, file: int) -> None:
    theirs, ours = client
    fill = SocketToFile(ours.fileno(), file, len(BEFORE), 10_000, DELIMITER)
    with moving(fill):
        theirs.sendall(b"pixels\r")

    assert (content(file), fill.rest, fill.drawn_bytes) == (BEFORE + b"pixels", b"\r", 7)
    assert fill.gave_up


@pytest.mark.slow
@pytest.mark.parametrize("byte", [b"x", b"\r"], ids=["plain", "that may begin a delimiter"])
def test_a_client_that_trickles_frees_the_thread(client: Sockets, file: int, byte: bytes) -> None:
    theirs, ours = client
    fill = SocketToFile(ours.fileno(), file, len(BEFORE), 10_000, DELIMITER)
    thread = threading.Thread(target=fill.run, args=[SpliceSlots(1)])
    thread.start()
    sent_count = 0
    while thread.is_alive() and sent_count < 40:
        theirs.sendall(byte)
        sent_count += 1
        thread.join(timeout=0.3)
    fill.close()

    assert fill.gave_up
    assert sent_count < 20, "within seconds"
    assert content(file)[len(BEFORE) :] + fill.rest == byte * fill.drawn_bytes


# --- from socket to socket -----------------------------------------------------------------------------------------


@pytest.fixture
def node(client: Sockets) -> Iterator[Sockets]:
    """Another connection."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as theirs:
        ours, _ = server.accept()
        with ours:
            ours.setblocking(False)
            yield theirs, ours


def read_all(reader: socket.socket, count: int) -> bytes:
    """Read so many bytes, or what there is."""
    whole = bytearray()
    while len(whole) < count and (chunk := reader.recv(1 << 20)):
        whole += chunk
    return bytes(whole)


def test_an_answer_passes_whole_and_no_further(client: Sockets, node: Sockets) -> None:
    move = SocketToSocket(node[1].fileno(), client[1].fileno(), len(NOISE))
    with moving(move):
        sender = threading.Thread(target=node[0].sendall, args=(NOISE + b"more",))
        sender.start()
        assert read_all(client[0], len(NOISE)) == NOISE
        sender.join()

    assert (move.drawn_bytes, move.rest) == (len(NOISE), b"")
    assert node[1].recv(100) == b"more"


def test_a_node_that_breaks_off_is_noticed(client: Sockets, node: Sockets) -> None:
    move = SocketToSocket(node[1].fileno(), client[1].fileno(), 1000)
    with moving(move):
        node[0].sendall(b"half")
        node[0].close()

    assert (move.drawn_bytes, move.given_bytes) == (4, 4)


def test_what_a_client_does_not_read_is_handed_out(client: Sockets, node: Sockets) -> None:
    """The thread is free after a second, and every byte that was taken is either sent or handed out."""
    move = SocketToSocket(node[1].fileno(), client[1].fileno(), 64 * len(NOISE))
    with moving(move):
        sender = threading.Thread(target=send_what_goes, args=(node[0], NOISE * 8))
        sender.start()
    given = read_all(client[0], move.given_bytes)
    sender.join()

    assert len(move.rest) <= PIPE_BYTES
    assert move.drawn_bytes < 64 * len(NOISE)
    assert (NOISE * 8).startswith(given + move.rest)


def send_what_goes(writer: socket.socket, data: bytes) -> None:
    """Send until the other side takes nothing more for a while."""
    writer.settimeout(1.5)
    try:
        writer.sendall(data)
    except TimeoutError:
        return


def test_a_move_that_is_stopped_ends_at_once(client: Sockets, node: Sockets) -> None:
    move = SocketToSocket(node[1].fileno(), client[1].fileno(), 1000)
    with moving(move):
        node[0].sendall(b"half")
        assert read_all(client[0], 4) == b"half"
        move.stop()

    assert node[0].recv(1) == b""
