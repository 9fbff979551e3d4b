"""What a command reads of this computer: where the cluster is, the files and secrets that an operator names, and the terminal."""

import getpass
import os
import shutil
import sys
from pathlib import Path
from typing import Final

import msgspec

from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.process.printing import given_up
from clusterodm.services.admin.cli.core.grammar import PROG
from clusterodm.services.admin.cli.core.tables import TableStyle

FILE: Final = "cluster.json"
DATA_DIR: Final = Path("data")
STANDARD_INPUT: Final = "-"
CLEAR: Final = "\x1b[H\x1b[2J\x1b[3J"
"""From the top of an empty screen on (ECMA-48)."""


class ClusterFile(msgspec.Struct, frozen=True):
    """What stands in cluster.json."""

    nats_url: str


def nats_url(flag: str, data_dir: str | None) -> str:
    """Find the NATS server: by a flag, the environment, or the file that `clusterodm up` leaves behind.

    Raises BusFailed when there is no cluster, Refused when its file is damaged.
    """
    if flag:
        return flag
    environment = os.environ.get("CLUSTERODM_NATS_URL", "")
    if environment and data_dir is None:
        return environment
    return read_cluster_file(Path(data_dir or os.environ.get("CLUSTERODM_DATA_DIR") or DATA_DIR) / FILE)


def read_cluster_file(path: Path) -> str:
    """Read what `clusterodm up` wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ClusterFile).nats_url
    except FileNotFoundError:
        raise BusFailed(f"there is no running cluster at {path}; name its NATS server with --nats-url") from None
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise Refused(f"{path} is damaged: {error}") from None


def read(path: str) -> str:
    """Read a file. Raises Refused."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def read_secret(path: str) -> str:
    """Read a secret from a file or from standard input, without showing it on a terminal."""
    if path != STANDARD_INPUT:
        return read(path).strip()
    return getpass.getpass("Token: ").strip() if sys.stdin.isatty() else sys.stdin.readline().strip()


def is_terminal() -> bool:
    """Whether what is printed goes to a terminal."""
    return sys.stdout.isatty()


def look(*, wide: bool) -> TableStyle:
    """Say how tables may look: as wide as the terminal, and in colour unless NO_COLOR (no-color.org) or TERM=dumb says otherwise."""
    if not is_terminal():
        return TableStyle()
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return TableStyle(width=None if wide else shutil.get_terminal_size((100, 24)).columns, colour=colour)


def say(text: str, *, failed: bool = False) -> None:
    """Print, at once. What cannot be written ends the program: quietly where a reader has gone (`| head`)."""
    try:
        print(text, file=sys.stderr if failed else sys.stdout, flush=True)
    except OSError as error:
        raise SystemExit(given_up(error, PROG)) from None


def clear() -> None:
    """Begin again at the top of a terminal."""
    if is_terminal():
        sys.stdout.write(CLEAR)


def user_name() -> str:
    """Say who has typed a command, as this computer knows it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
