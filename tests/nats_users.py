"""The nats-server that `up` runs, with a user for each service."""

import json
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import nats
from nats.aio.client import Client

from clusterodm.deploy.nats import process
from clusterodm.libs.common.bus.urls import inbox_of, named_in
from tests.nats import NATS_SERVER
from tests.ports import free_port
from tests.waiting import until_sync

EARLIER_TOKEN = "the-token-of-an-earlier-version"


@contextmanager
def nats_of_up(data_dir: Path) -> Iterator[dict[str, str]]:
    """Run the nats-server of a data directory as `up` does, one that an earlier version has used; a URL for each user."""
    with changing_nats_of_up(data_dir) as (urls, _):
        yield urls


@contextmanager
def changing_nats_of_up(data_dir: Path) -> Iterator[tuple[dict[str, str], Callable[[str], None]]]:
    """Run it with what takes a right from all users, or gives all back ("")."""
    folder = data_dir / "nats"
    folder.mkdir(parents=True)
    (folder / "token").write_text(EARLIER_TOKEN)
    made, urls = process(folder, lambda port: port or free_port(), 20.0)
    configuration = (folder / "server.conf").read_text()
    with subprocess.Popen([NATS_SERVER, "-c", folder / "server.conf"], env=dict(made.recipe.environment)) as server:
        port = int(urls["proxy"].rpartition(":")[2])

        def without(right: str) -> None:
            rows = configuration.splitlines()
            kept = [row for row in rows if not right or row.strip() != json.dumps(right)]
            (folder / "server.conf").write_text("\n".join(kept))
            server.send_signal(signal.SIGHUP)

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        try:
            until_sync(listens, what="nats-server")
            yield urls, without
        finally:
            server.terminate()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[Client, list[str]]]:
    """Be a user, with what the server refuses."""
    refused: list[str] = []

    async def heard(error: Exception) -> None:
        refused.append(str(error).lower())

    inbox = inbox_of(named_in(url)[0])
    client = await nats.connect(url, error_cb=heard, max_reconnect_attempts=0, inbox_prefix=inbox)
    try:
        yield client, refused
    finally:
        await client.close()
