"""The nats-server of one cluster: loopback, a port of its own, passwords that only this data directory knows.

Each service is a user of its own, with the rights that it needs (deploy/nats_users.py), and so are programs of others; the operator's words may do
everything. The passwords follow from one secret, the token. Its port and token stay the same over restarts. Every write is on disk before it is answered (`sync_interval: always`):
a commit survives a power cut.

What it may use is a share of the whole disk. By itself it would take a share of what is free when it starts: nothing, if the
disk is full then, and it would go on refusing when there is room again. One that met a full disk writes nothing until it is started
again; what it says of its health on a port of loopback tells (decision 33). That port also gives its signs of life.
"""

import hmac
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from clusterodm.deploy.checks import nats_server
from clusterodm.deploy.children import Recipe, program
from clusterodm.deploy.datadir import write_private, writing
from clusterodm.deploy.restarts import RestartPolicy
from clusterodm.deploy.supervisor import Process
from clusterodm.libs.common.hosts import LOOPBACK

OPERATOR: Final = "operator"
INTEGRATION: Final = "integration"
USERS: Final = (OPERATOR, "proxy", "scheduler", "autoscaler", "admin", INTEGRATION)
USERS_FILE: Final = Path(__file__).with_name("nats-users.conf")
STOP_S: Final = 10.0
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024
TOKEN_BYTES: Final = 24
SHARE_PERCENT: Final = 75
HEALTH_PATH: Final = "/healthz"
CANNOT_WRITE: Final = b"write error"
"""In what nats-server says of its health: a stream that could not be written is not tried again."""
ROOM_BYTES: Final = 16 << 20
"""So much must be free again before nats-server is started again."""
SILENCES_COUNT: Final = 3
"""A disk that stalls holds up its health too: it may be silent so many times as long as a service."""


def process(folder: Path, choose_port: Callable[[int], int], watchdog_s: float) -> tuple[Process, dict[str, str]]:
    """Make the process, and for each user the URL at which it reaches it, which holds the password. Raises Refused."""
    words = [nats_server(), "-c", str(folder / "server.conf")]
    with writing(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    port, token = choose_port(remembered_port(folder)), remembered_token(folder)
    health_port = choose_port(0)
    write_private(folder / "server.conf", configuration(folder.absolute(), port, health_port))
    passwords = {user: password_of(token, user) for user in USERS}
    made = Process(
        recipe=Recipe(" ".join(words), program(words), surroundings(os.environ, passwords)),
        policy=RestartPolicy(
            grace_s=STOP_S, tier=0, silence_s=SILENCES_COUNT * watchdog_s, own=False, hint=str(folder / "server.log")
        ),
        health=(health_port, HEALTH_PATH),
        unwell=partial(unwell, folder),
    )
    return made, {user: f"nats://{user}:{password}@{LOOPBACK}:{port}" for user, password in passwords.items()}


def password_of(token: str, user: str) -> str:
    """Make a user's password of the token. It begins with a letter: nats-server takes a variable that looks like a number for one."""
    return "p" + hmac.new(token.encode(), f"nats user {user}".encode(), "sha256").hexdigest()


def surroundings(environment: Mapping[str, str], passwords: Mapping[str, str]) -> dict[str, str]:
    """Make its environment: nothing of ours but the passwords."""
    others = {name: value for name, value in environment.items() if not name.startswith("CLUSTERODM_")}
    return others | {f"NATS_{user.upper()}_PASSWORD": password for user, password in passwords.items()}


def unwell(folder: Path, said: bytes) -> str:
    """Say why it ought to be started again: it has given up writing although its disk has room again."""
    if CANNOT_WRITE in said and has_room(folder):
        return "it cannot write any more although there is room on its disk again"
    return ""


def has_room(folder: Path) -> bool:
    """Whether there is space on the disk of a folder."""
    try:
        space = os.statvfs(folder)
    except OSError:
        return False
    return space.f_bavail * space.f_frsize >= ROOM_BYTES


def remembered_port(folder: Path) -> int:
    """Read the port of the last time; 0 when there was none."""
    try:
        return int((folder / "port").read_text())
    except (OSError, ValueError):
        return 0


def remembered_token(folder: Path) -> str:
    """Read the token of this data directory, made at its first start."""
    path = folder / "token"
    token = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if not token:  # one that is empty, as a power cut may leave it, would give passwords that everybody knows
        token = secrets.token_urlsafe(TOKEN_BYTES)
        write_private(path, token)
    return token


def most_bytes(folder: Path) -> int:
    """Say how much of its disk nats-server may use; the same at each start."""
    return shutil.disk_usage(folder).total * SHARE_PERCENT // 100


def configuration(folder: Path, port: int, health_port: int) -> str:
    """Write the configuration of nats-server (docs.nats.io, "Configuring NATS Server")."""
    write_private(folder / "port", str(port))
    return f"""\
server_name: clusterodm
listen: "{LOOPBACK}:{port}"
http: "{LOOPBACK}:{health_port}"
max_payload: {MAX_PAYLOAD_BYTES}
logfile: {json.dumps(str(folder / "server.log"))}
logfile_size_limit: 10MB
logfile_max_num: 3
jetstream {{
  store_dir: {json.dumps(str(folder / "store"))}
  sync_interval: always
  max_file_store: {most_bytes(folder)}
}}
{USERS_FILE.read_text(encoding="utf-8")}"""
