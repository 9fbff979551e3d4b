"""The way to a collector of spans, which is a stranger like any other: its answer has a time and a length, and leads nowhere.

`requests` waits for each read, not for an answer: a head that drips, or is preceded by "100 Continue" without end, would never be over, and the latter
would take the processor from the service. And it reads the whole body, whatever its length. So the connection is cut when the head has not come in
time, and no body is read: what happened says the status. Redirects are not followed. To be connected to, TLS included, and to take what it is sent it has
a time of its own, each: whoever gives none (`timeout`) gets CONNECT_S.
"""

import io
import socket
import threading
from contextlib import suppress
from typing import Any, Final, Self

ANSWER_S: Final = 5.0
"""From the end of a request to the end of the answer's head."""
CONNECT_S: Final = 10.0
"""For one connection with its handshake; Python counts a handshake as a whole, however it drips."""


def bounded_session(answer_s: float = ANSWER_S) -> Any:
    """Make a session for the exporter. Raises ImportError without the packages."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class PlainConnection(HTTPConnection):
        def getresponse(self) -> Any:
            with CutIn(answer_s, self.sock) as limit:
                response = super().getresponse()
            return limit.checked(response)

    class SecureConnection(HTTPSConnection):
        def getresponse(self) -> Any:
            with CutIn(answer_s, self.sock) as limit:
                response = super().getresponse()
            return limit.checked(response)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **named: Any) -> None:
            super().init_poolmanager(*args, **named)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

        def proxy_manager_for(self, *args: Any, **named: Any) -> Any:
            manager = super().proxy_manager_for(*args, **named)
            manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
            return manager

    class BoundedSession(requests.Session):
        def request(self, *args: Any, **named: Any) -> Any:
            bounded = {"timeout": CONNECT_S, **named, "stream": True, "allow_redirects": False}
            response = super().request(*args, **bounded)
            response.close()
            response.raw = io.BytesIO()  # whoever asks for the body finds none
            return response

    session = BoundedSession()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session


class CutIn:
    """Shuts a connection down when the context is open for too long."""

    def __init__(self, seconds: float, connection: Any) -> None:
        self._connection = connection
        self._is_cut = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        """Begin to count."""
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        self._timer.cancel()

    def checked(self, response: Any) -> Any:
        """Take an answer that came in time. Raises TimeoutError when it was shut down: what came until then is none."""
        if self._is_cut:
            response.close()
            raise TimeoutError("the collector did not answer in time")
        return response

    def _cut(self) -> None:
        """Whoever reads from it sees its end."""
        self._is_cut = True
        with suppress(OSError, AttributeError):
            self._connection.shutdown(socket.SHUT_RDWR)
