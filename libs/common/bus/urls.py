"""What a URL of NATS says: the server, the user, and where the answers to that user go.

Read by hand: commands of a moment read one, and `urllib.parse` takes longer to load than all of the rest that they do with it.
"""

from typing import Final, NamedTuple

INBOX: Final = "_INBOX"
PORT: Final = 4222


class ServerUrl(NamedTuple):
    """The parts of one URL, as they stand there."""

    scheme: str
    user: str
    password: str | None
    """None: what stands before the host is a token."""
    host: str
    port: int


def server_url(url: str) -> ServerUrl | None:
    """Take a URL apart; None: it is none."""
    scheme, colon, rest = url.partition("://")
    authority = (rest if colon else url).partition("/")[0]
    credentials, _, where = authority.rpartition("@")
    user, colon, password = credentials.partition(":")
    host, bracket, port = where.removeprefix("[").partition("]") if where.startswith("[") else (where, "", "")
    if bracket:
        port = port.removeprefix(":")
    else:
        host, _, port = where.partition(":")
    if not host or not (port or str(PORT)).isdecimal():
        return None
    return ServerUrl(scheme if "://" in url else "nats", user, password if colon else None, host, int(port or PORT))


def named_in(url: str) -> tuple[str, str]:
    """Read user and password out of the first of some URLs; empty: there are none, or there is a token."""
    found = server_url(url.partition(",")[0])
    return (found.user, found.password) if found and found.user and found.password else ("", "")


def inbox_of(user: str) -> str:
    """Name where answers go to: an inbox for each user of NATS, which the rights of others can leave out."""
    letters = user.replace("_", "").replace("-", "")
    is_word = bool(user) and user.isascii() and (not letters or letters.isalnum())
    return f"{INBOX}.{user}" if is_word else INBOX
