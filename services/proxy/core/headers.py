"""Which header lines pass through a proxy, and which are between two neighbours only. Pure.

RFC 9110, 7.6.1: `Connection` and what it names, and the old hop-by-hop lines, end here. Of a node's answer its CORS lines
end here too (the proxy says its own, for its own origin), and its Date (our server writes one). Towards a node only
the lines go that change what it answers; never a cookie, an authorization or an origin.
"""

from collections.abc import Sequence
from typing import Final

Header = tuple[bytes, bytes]
"""Name in lower case, value."""

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
OURS: Final = frozenset((b"date", b"server", b"x-powered-by", b"set-cookie", b"vary"))
CORS_PREFIX: Final = b"access-control-"

TOWARDS_NODE: Final = frozenset(
    (
        b"accept",
        b"accept-encoding",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"user-agent",
    )
)


def for_client(headers: Sequence[Header]) -> list[Header]:
    """Choose the lines of a node's answer that the client gets."""
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    dropped = HOP_BY_HOP | OURS | named
    return [(name, value) for name, value in headers if name not in dropped and not name.startswith(CORS_PREFIX)]


def for_node(headers: Sequence[Header]) -> list[Header]:
    """Choose the lines of a client's request that the node gets."""
    return [(name, value) for name, value in headers if name in TOWARDS_NODE]


def find(headers: Sequence[Header], wanted: bytes) -> bytes | None:
    """Look up the first line with a name."""
    return next((value for name, value in headers if name == wanted), None)
