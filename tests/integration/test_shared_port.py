"""Proxies of one computer share the ports for clients, and each has one of its own for the others."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.http_io.listening import listen
from clusterodm.services.proxy.server.listen import BACKLOG, listening, own_url
from clusterodm.services.proxy.settings import ProxySettings
from tests.ports import free_port


def test_a_shared_port_takes_connections_from_whoever_listens():
    port = free_port()
    with closing(listen("127.0.0.1", port, shared=True)), closing(listen("127.0.0.1", port, shared=True)) as second:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        second.listen(BACKLOG)
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                taken, _ = second.accept()
                taken.close()


def test_a_port_that_is_not_shared_is_refused_with_a_reason():
    with closing(listen("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Refused, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port, shared=True)


def test_a_proxy_that_shares_its_port_is_reached_by_the_others_on_its_own(tmp_path: Path):
    settings = ProxySettings(bind="127.0.0.1", port=free_port(), own_port=free_port(), data_dir=tmp_path)
    with listening(settings) as entrances, listening(settings.changed(own_port=free_port())):
        assert [entrance.port for entrance in entrances] == [settings.port, settings.own_port]
        assert own_url(settings, entrances) == f"http://127.0.0.1:{settings.own_port}"


async def test_half_of_the_proxies_may_go_and_the_port_still_answers():
    port = free_port()

    async def hello(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    first = await asyncio.start_server(hello, sock=listen("127.0.0.1", port, shared=True))
    second = await asyncio.start_server(hello, sock=listen("127.0.0.1", port, shared=True))
    first.close()
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"hello"
        writer.close()
    second.close()
