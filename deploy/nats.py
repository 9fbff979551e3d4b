"""The nats-server of one cluster: loopback, a port of its own, a token that only this data directory knows.

Its port and token stay the same over restarts. Every write is on disk before it is answered (`sync_interval: always`):
a commit survives a power cut.

What it may use is a share of the whole disk. By itself it would take a share of what is free when it starts: nothing, if the
disk is full then, and it would go on refusing when there is room again. One that met a full disk writes nothing until it is started
again (its keeper does that, by what it says of its health on a port of loopback).
"""

import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.checks import free_port, nats_server
from deploy.datadir import write_private
from deploy.processes import keeper
from libs.common.errors import Refused
from libs.common.lifecycle import monotonic_s

HOST: Final = "127.0.0.1"
START_S: Final = 30.0
STOP_S: Final = 10.0
POLL_S: Final = 0.005
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
TOKEN_BYTES: Final = 24
SHARE_PERCENT: Final = 75


@contextmanager
def running(folder: Path, guard: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a nats-server while the context is open; yield its URL, which holds the token. Raises Refused."""
    program = nats_server()
    folder.mkdir(mode=0o700, exist_ok=True)
    port, token = free_port(remembered_port(folder)), remembered_token(folder)
    health_port = free_port(0)
    config = folder / "server.conf"
    write_private(config, configuration(folder.absolute(), port, health_port, token))
    watched = (f"--health={health_port}", f"--store={folder.absolute()}")
    command = keeper("nats", [program, "-c", str(config)], guard, STOP_S, *watched)
    with subprocess.Popen(command, env=environment, start_new_session=True) as kept:  # noqa: S603 our own program
        try:
            wait_for(kept, port, folder)
            yield f"nats://{token}@{HOST}:{port}"
        finally:
            kept.terminate()


def remembered_port(folder: Path) -> int:
    """Read the port of the last time; 0 when there was none."""
    try:
        return int((folder / "port").read_text())
    except (OSError, ValueError):
        return 0


def remembered_token(folder: Path) -> str:
    """Read the token of this data directory, made at its first start."""
    path = folder / "token"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(TOKEN_BYTES))
    return path.read_text(encoding="utf-8").strip()


def most_bytes(folder: Path) -> int:
    """Say how much of its disk nats-server may use; the same at each start."""
    return shutil.disk_usage(folder).total * SHARE_PERCENT // 100


def configuration(folder: Path, port: int, health_port: int, token: str) -> str:
    """Write the configuration of nats-server (docs.nats.io, "Configuring NATS Server")."""
    (folder / "port").write_text(str(port))
    return f"""\
server_name: clusterodm
listen: "{HOST}:{port}"
http: "{HOST}:{health_port}"
authorization {{ token: {json.dumps(token)} }}
max_payload: {MAX_PAYLOAD_BYTES}
logfile: {json.dumps(str(folder / "server.log"))}
logfile_size_limit: 10MB
logfile_max_num: 3
jetstream {{
  store_dir: {json.dumps(str(folder / "store"))}
  sync_interval: always
  max_file_store: {most_bytes(folder)}
}}
"""


def wait_for(kept: "subprocess.Popen[bytes]", port: int, folder: Path) -> None:
    """Wait until connections are taken. Raises Refused."""
    deadline_s = monotonic_s() + START_S
    while kept.poll() is None and monotonic_s() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(POLL_S)
    raise Refused(f"nats-server does not start; the reason is at the end of {folder / 'server.log'}")
