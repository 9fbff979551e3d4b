"""What a command reads of this computer: where the cluster is, the files and secrets that an operator names, and the terminal."""

import os
import sys
from typing import Final

import msgspec

from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.process.printing import given_up
from clusterodm.libs.common.settings.addresses import nats_servers
from clusterodm.services.admin.cli.core.grammar import PROG
from clusterodm.services.admin.cli.core.tables import TableStyle

FILE: Final = "cluster.json"
DATA_DIR: Final = "data"
STANDARD_INPUT: Final = "-"
USUAL_COLUMNS: Final = 100
CLEAR: Final = "\x1b[H\x1b[2J\x1b[3J"
"""From the top of an empty screen on (ECMA-48)."""


class ClusterFile(msgspec.Struct, frozen=True):
    """What stands in cluster.json."""

    nats_url: str
    tokens: str | None = None
    """Path of the file that says which tokens count; empty: there is none; None: not known."""


def nats_url(flag: str, data_dir: str | None) -> str:
    """Find the NATS server: by a flag, the environment, or the file that `clusterodm up` leaves behind.

    Raises BusFailed when there is no cluster, Refused when its file is damaged, or what is given is no such address.
    """
    if flag:
        return checked(flag, "--nats-url")
    environment = os.environ.get("CLUSTERODM_NATS_URL", "")
    if environment and data_dir is None:
        return checked(environment, "CLUSTERODM_NATS_URL")
    folder = data_dir or os.environ.get("CLUSTERODM_DATA_DIR") or DATA_DIR
    return read_cluster_file(os.path.join(folder, FILE)).nats_url  # noqa: PTH118 to load pathlib takes a tenth of what a command may take


def checked(url: str, name: str) -> str:
    """Refuse what names no server of NATS, without repeating it: it would be taken for one that does not answer. Raises Refused."""
    try:
        nats_servers(url)
    except ValueError as error:
        raise Refused(f"{name} {error}") from None
    return url


def tokens_of_running(folder: str) -> str | None:
    """Say which file of tokens the cluster knows that runs there; empty: none; None: none runs there, or nobody can say."""
    try:
        return read_cluster_file(os.path.join(folder, FILE)).tokens  # noqa: PTH118 as above
    except (BusFailed, Refused):
        return None


def read_cluster_file(path: str) -> ClusterFile:
    """Read what `clusterodm up` wrote."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 as above
            return msgspec.json.decode(file.read(), type=ClusterFile)
    except FileNotFoundError:
        raise BusFailed(f"there is no running cluster at {path}; name its NATS server with --nats-url") from None
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise Refused(f"{path} is damaged: {error}") from None


def read(path: str) -> str:
    """Read a file. Raises Refused."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123 as above
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def read_secret(path: str) -> str:
    """Read a secret from a file or from standard input, without showing it on a terminal. Raises Refused, also where there is none: nobody names a file for that."""
    found = (typed("Token: ") if path == STANDARD_INPUT else read(path)).strip()
    if not found:
        raise Refused(f"there is no token in {'standard input' if path == STANDARD_INPUT else path}")
    if path != STANDARD_INPUT:
        from clusterodm.libs.common.process.files import EXPOSED, open_to_others  # as in `typed`

        if open_to_others(path):
            say(f"{PROG}: warning: {path}: {EXPOSED} {path}", failed=True)
    return found


def typed(prompt: str) -> str:
    """Read a line of standard input, without showing it on a terminal. Raises Refused where none comes (Ctrl-D), or no text."""
    import getpass  # few words ask for one, and all would wait for it

    if sys.stdin is None:
        raise Refused("standard input is closed")
    try:
        line = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
        line.encode()
    except EOFError:
        raise Refused("nothing was typed") from None
    except UnicodeError:
        raise Refused("what comes from standard input is no UTF-8") from None
    return line.rstrip("\r\n")


def is_terminal() -> bool:
    """Whether what is printed goes to a terminal."""
    return sys.stdout.isatty()


def table_style(*, wide: bool) -> TableStyle:
    """Say how tables may look: as wide as the terminal, and in colour unless NO_COLOR (no-color.org) or TERM=dumb says otherwise."""
    if not is_terminal():
        return TableStyle()
    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return TableStyle(width=None if wide else columns(), colour=colour)


def columns() -> int:
    """Say how wide the terminal is: as the environment says, or the kernel (shutil, which does the same, takes long to load)."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError):
        return USUAL_COLUMNS


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
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
