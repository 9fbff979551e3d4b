"""Who may ask the web page for what: pure judgements about the headers of a request.

A page from elsewhere must not be able to act through an operator's browser, which adds the password by itself, nor a program that can
be told where to send something: a webhook, a form, a link. A request that changes something therefore has to be one that none of them
can send: it carries a header that they do not have (`X-Requested-With`, any value), its body is JSON by name, for both of which a browser asks first
and gets no permission, and where a browser says where the request comes from, that is this page.

A foreign page whose own name is made to lead here (DNS rebinding) is no stranger to the browser any more. What it cannot change is the name
that the browser sends: only known ones are answered. An IP address is one always, because nobody can make it lead elsewhere.
"""

import base64
import ipaddress
import re
from collections.abc import Collection, Mapping
from typing import Final

from clusterodm.services.admin.access.roles import Role

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

REQUESTED_WITH: Final = "x-requested-with"
"""What page and scripts send with a request that changes something."""
OF_PAGES: Final = "ClusterODM"
"""What our own pages say there (templates/base.html)."""
THIS_COMPUTER: Final = "localhost"
FOR_ADMINS: Final = tuple(
    (method, re.compile(pattern))
    for method, pattern in (
        ("POST", r"/api/v1/(tenants|tokens)(/.*)?"),
        ("DELETE", r"/api/v1/(tenants|tokens|nodes|machines)/.*"),
        ("POST", r"/api/v1/nodes|/r/node/add"),
        ("DELETE", r"/r/(node|machine)"),
    )
)
"""What only admins may ask for; what it is called as a command says so, too (commands/core/acts.py), and a test holds both together."""

Headers = Mapping[str, str]
"""Names in lower case."""


def is_cross_site(headers: Headers) -> bool:
    """Whether a browser says that another site's page has sent this.

    `Sec-Fetch-Site` comes with HTTPS and localhost only; otherwise `Origin` has to do.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def is_foreign_load(headers: Headers) -> bool:
    """Whether another site's page loads this into itself: it could read none of it, and would have it worked out all the same. A link that is followed opens a page of its own."""
    opens_page = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest", "document") == "document"
    return is_cross_site(headers) and not opens_page


def has_requested_with(headers: Headers) -> bool:
    """Whether a request carries what no webhook, form or link can send."""
    return bool(headers.get(REQUESTED_WITH, "").strip())


def by_page(headers: Headers) -> bool:
    """Whether a script of one of our pages asks, or what it listens with."""
    return headers.get(REQUESTED_WITH) == OF_PAGES or "text/event-stream" in headers.get("accept", "")


def is_known_host(host: str, names: Collection[str]) -> bool:
    """Whether the page is meant by a `Host` header: by an address, as localhost, or by one of its names (in lower case)."""
    name = name_in(host)
    return is_address(name) or name == THIS_COMPUTER or name.endswith(f".{THIS_COMPUTER}") or name in names


def name_in(host: str) -> str:
    """Take the port, the brackets and the dot at the end off a `Host` header."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().removesuffix(".")


def is_address(name: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_names(text: str) -> frozenset[str]:
    """Read host names that are separated by commas."""
    return frozenset(name for word in text.split(",") if (name := name_in(word.strip())))


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


def role_of_request(method: str, path: str) -> Role:
    """Say which role it takes at least to ask for a change, before anything has read what is asked for."""
    needs_admin = any(method == asked and pattern.fullmatch(path) for asked, pattern in FOR_ADMINS)
    return Role.ADMIN if needs_admin else Role.OPERATOR
