"""Who may ask the web page for what: pure judgements about the headers of a request.

A page from elsewhere must not be able to act through an operator's browser, which adds the password by itself. A request
that changes something therefore has to be one that no foreign page can send: its body is JSON by name, for which a browser
asks first and gets no permission, and where a browser says where the request comes from, that is this page. Scripts send
neither `Origin` nor `Sec-Fetch-Site` and are not bothered.
"""

import base64
from collections.abc import Mapping
from typing import Final

from services.admin.core.logins import same

USER: Final = "admin"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

Headers = Mapping[str, str]
"""Names in lower case."""


def foreign(headers: Headers) -> bool:
    """Whether a browser says that another site's page has sent this.

    `Sec-Fetch-Site` comes with HTTPS and localhost only; otherwise `Origin` has to do.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def is_json(headers: Headers) -> bool:
    """Whether the body is JSON by name."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def credentials(headers: Headers) -> tuple[str, str] | None:
    """Read user and password of HTTP Basic authentication (RFC 7617); None when there are none."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # no base64, no UTF-8, no ASCII
        return None
    return (user, password) if colon else None


def right(given: tuple[str, str], password: str) -> bool:
    """Judge user and password, always both."""
    return same(given[0], USER) & same(given[1], password)
