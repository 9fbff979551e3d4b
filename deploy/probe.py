"""Health check of one service from inside its container: `python -m clusterodm.deploy.probe proxy|scheduler|autoscaler|admin`.

Exit code 0: it is alive. Each is asked for `/healthz` on a port of its own (`--health-port` of the scheduler and the autoscaler): a
service whose event loop or one of whose loops hangs is not, one that only lacks NATS is. Where it listens is read from the environment alone:
nothing is known here of the service's flags and of its file.
"""

import http.client
import os
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Final

from clusterodm.deploy.plan import reachable

LIMIT_S: Final = 5.0
ANSWER_LIMIT_S: Final = 2.0
"""How long one look at a port may take: it is taken often."""


def main(argv: list[str]) -> int:
    """Probe one service; the exit code."""
    if argv in (["--help"], ["-h"]):
        print(f"usage: python -m clusterodm.deploy.probe {'|'.join(PROBES)}")  # noqa: T201 what the program says
        return 0
    if len(argv) != 1 or argv[0] not in PROBES:
        print(f"probe: which of {', '.join(PROBES)}?", file=sys.stderr)  # noqa: T201 for whoever reads the health log
        return 2
    try:
        return 0 if PROBES[argv[0]]() else 1
    except OSError as error:
        print(f"probe: {error}", file=sys.stderr)  # noqa: T201 same
        return 1


def proxy() -> bool:
    """Ask the proxy on its port, which speaks TLS where there is no other port for that."""
    tls = setting("SSL_KEY", "") and not int(setting("SECURE_PORT", "0"))
    return answers("https" if tls else "http", reachable(setting("BIND", "")), int(setting("PORT", "3000")))


def admin() -> bool:
    """Ask the admin on its web port; without one, connect to the port of its command line."""
    host = reachable(setting("ADMIN_BIND", ""))
    if web := int(setting("ADMIN_WEB_PORT", "10000")):
        return answers("http", host, web)
    if telnet := int(setting("ADMIN_CLI_PORT", "8080")):
        socket.create_connection((host, telnet), timeout=LIMIT_S).close()
    return True


def on_health_port() -> bool:
    """Ask a service that has no other port."""
    return answers("http", reachable(setting("HEALTH_BIND", "127.0.0.1")), int(setting("HEALTH_PORT", "8090")))


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections on a port."""
    try:
        socket.create_connection((host, port), timeout=ANSWER_LIMIT_S).close()
    except OSError:
        return False
    return True


def answers(scheme: str, host: str, port: int) -> bool:
    """Whether the proxy says that it is well."""
    connection = (
        http.client.HTTPSConnection(host, port, timeout=ANSWER_LIMIT_S, context=trusting())
        if scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=ANSWER_LIMIT_S)
    )
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def trusting() -> ssl.SSLContext:
    """Believe any certificate: it is our own port, on loopback."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def setting(name: str, default: str) -> str:
    """Read one of our environment variables."""
    return os.environ.get(f"CLUSTERODM_{name}") or default


PROBES: Final[dict[str, Callable[[], bool]]] = {
    "proxy": proxy,
    "admin": admin,
    "scheduler": on_health_port,
    "autoscaler": on_health_port,
}

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
