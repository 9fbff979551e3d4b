"""What an ASGI application is told of a request and of its connection. Pure but for what a transport says of itself."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from clusterodm.libs.http1.heads import RequestHead

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""


def request_scope(connection: Scope, head: RequestHead) -> Scope:
    """Write the scope of a request, on top of what its connection says."""
    path, query = path_and_query(head.target)
    return {
        **connection,
        "http_version": head.version,
        "method": head.method,
        "path": unquote(path) if "%" in path else path,
        "raw_path": path.encode("ascii"),
        "query_string": query,
        "headers": head.headers,
        "state": {},
    }


def connection_scope(transport: asyncio.Transport) -> Scope:
    """Say what all requests of a connection have in common."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "root_path": "",
        "scheme": "https" if transport.get_extra_info("sslcontext") else "http",
        "client": address(transport.get_extra_info("peername")),
        "server": address(transport.get_extra_info("sockname")),
    }


def address(name: Any) -> tuple[str, int] | None:
    """Read an internet address; None: it is none."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None


def path_and_query(target: bytes) -> tuple[str, bytes]:
    """Take a target apart; of an address, its host is not looked at (RFC 9112, 3.2.2)."""
    if not target.startswith(b"/") and target != b"*":
        rest = target.partition(b"://")[2]
        target = rest[len(rest.partition(b"/")[0].partition(b"?")[0]) :]
        target = target if target.startswith(b"/") else b"/" + target
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return path.decode("ascii"), query
