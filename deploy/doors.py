"""Whether a port of the cluster is there: the quickest look that tells. Nothing but the standard library: it is taken often."""

import http.client
import socket
import ssl
from typing import Final

LIMIT_S: Final = 2.0
"""How long one look at a port may take."""


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections on a port."""
    try:
        socket.create_connection((host, port), timeout=LIMIT_S).close()
    except OSError:
        return False
    return True


def answers(scheme: str, host: str, port: int) -> bool:
    """Whether the proxy says that it is well."""
    connection = (
        http.client.HTTPSConnection(host, port, timeout=LIMIT_S, context=trusting())
        if scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=LIMIT_S)
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
