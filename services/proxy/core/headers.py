"""Which header lines pass through the proxy. Pure.

Both ways only lines that are known go on, so that a line which somebody invents tomorrow does not.

    towards a node      what changes its answer; never a cookie, an authorization or an origin
    towards a client    what describes the content, and how long it may be kept

A client's browser takes a node's answer for ours, so nothing goes on that would act on our origin, or that we say ourselves:

    lines of a node                                         passed on   because they
    Content-*, Accept-Ranges, ETag, Last-Modified, digests  yes         describe the content
    Cache-Control, Expires                                  yes         say how long it may be kept
    Location                                                a path      lead elsewhere: only to a path of ours
    Set-Cookie, Clear-Site-Data                             no          write and delete what browsers keep for our origin
    Strict-Transport-Security, Alt-Svc, Refresh, Link       no          send browsers to another port, protocol or place
    WWW-Authenticate, Proxy-Authenticate                    no          ask users for a password, in our name
    Content-Security-Policy*, Permissions-Policy, NEL ...   no          make browsers report, or forbid, for our origin
    Access-Control-*, Date, Server, Vary, X-Powered-By      no          are said by us
    Connection and what it names, Transfer-Encoding ...     no          are between two neighbours (RFC 9110, 7.6.1)

`Content-Security-Policy` and `Content-Location` begin like what describes the content; the list names each line in full.
"""

import re
from collections.abc import Sequence
from typing import Final

from libs.http1.lines import Header, find

__all__ = ["Header", "find", "for_client", "for_node"]

LOCAL_PATH: Final = re.compile(rb"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?")

TOWARDS_CLIENT: Final = frozenset(
    (
        b"accept-ranges",
        b"cache-control",
        b"content-digest",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"digest",
        b"etag",
        b"expires",
        b"last-modified",
        b"location",
        b"repr-digest",
        b"x-content-type-options",
    )
)

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
    return [line for line in headers if line[0] in TOWARDS_CLIENT and line[0] not in named and leads_nowhere_else(line)]


def leads_nowhere_else(line: Header) -> bool:
    """Whether a line is no redirect, or one to a path here. Browsers read a backslash as a slash, and skip some characters."""
    name, value = line
    return name != b"location" or LOCAL_PATH.fullmatch(value) is not None


def for_node(headers: Sequence[Header]) -> list[Header]:
    """Choose the lines of a client's request that the node gets."""
    return [(name, value) for name, value in headers if name in TOWARDS_NODE]
