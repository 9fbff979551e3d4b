"""Addresses as flags hold them, judged when they are read: a wrong one would be found out much later, or be taken for a server that does not answer.

They are read by hand: commands of a moment read one, and `urllib.parse` takes longer to load than all of the rest that they do with it.
"""

from typing import Final, NamedTuple

from clusterodm.libs.common.hosts import LARGEST_PORT

NATS_PORT: Final = 4222
NATS: Final = ("nats", "tls")
WEB: Final = ("http", "https")


class ServerUrl(NamedTuple):
    """The parts of one URL, as they stand there."""

    scheme: str
    user: str
    password: str | None
    """None: what stands before the host is a token."""
    host: str
    port: int


def server_url(url: str, port: int = NATS_PORT) -> ServerUrl | None:
    """Take a URL apart, with this port where it names none; None: it is none."""
    scheme, colon, rest = url.partition("://")
    if not colon and "/" in url:
        return None
    authority = (rest if colon else url).partition("/")[0]
    credentials, _, where = authority.rpartition("@")
    user, has_password, password = credentials.partition(":")
    host, bracket, said = where.removeprefix("[").partition("]") if where.startswith("[") else (where, "", "")
    if bracket:
        said = said.removeprefix(":")
    else:
        host, _, said = where.partition(":")
    said = said or str(port)
    if not host or not (said.isascii() and said.isdecimal()) or not 0 < int(said) <= LARGEST_PORT:
        return None
    return ServerUrl(scheme if rest else "nats", user, password if has_password else None, host, int(said))


def may_be_host(text: str) -> bool:
    """Whether it is worth to ask for it: whoever resolves it says the rest."""
    return bool(text.strip(".")) and not any(map(str.isspace, text))


def nats_servers(text: str) -> None:
    """See that a text names servers of NATS, with commas between. Raises ValueError, without what may be a password."""
    for url in text.split(","):
        found = server_url(url.strip())
        if found is None or found.scheme not in NATS or not may_be_host(found.host):
            told = f", not {found.scheme}://" if found and found.scheme in WEB else ""
            raise ValueError(f"should be nats://HOST:PORT or tls://HOST:PORT{told}; several have commas between them")


def web_address(text: str) -> None:
    """See that a text is an address of the web; empty: none. Raises ValueError."""
    found = server_url(text)
    if text and ("://" not in text or found is None or found.scheme not in WEB or not may_be_host(found.host)):
        raise ValueError("must begin with http:// or https:// and name a host, as https://cluster.example.org")
