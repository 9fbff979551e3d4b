"""What a URL of NATS says of its user, and where the answers to that user go."""

from typing import Final

from clusterodm.libs.common.settings.addresses import server_url

INBOX: Final = "_INBOX"


def named_in(url: str) -> tuple[str, str]:
    """Read user and password out of the first of some URLs; empty: there are none, or there is a token."""
    found = server_url(url.partition(",")[0].strip())
    return (found.user, found.password) if found and found.user and found.password else ("", "")


def inbox_of(user: str) -> str:
    """Name where answers go to: an inbox for each user of NATS, which the rights of others can leave out."""
    letters = user.replace("_", "").replace("-", "")
    is_word = bool(user) and user.isascii() and (not letters or letters.isalnum())
    return f"{INBOX}.{user}" if is_word else INBOX
