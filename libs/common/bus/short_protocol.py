"""What goes over a short connection (short.py): whom it can reach, who asks, and what a message of NATS says."""

from typing import Final, NamedTuple

import msgspec

from clusterodm.libs.common.bus.replies import ERROR_CODE
from clusterodm.libs.common.settings.addresses import ServerUrl, server_url

STATUS: Final = "NATS/1.0"
OPERATION, MARKER = "KV-Operation", "Nats-Marker-Reason"
"""Headers of what says that a key is gone."""


class NotShort(Exception):
    """It cannot be asked in this way, or was not answered."""


class ReplyLost(NotShort):
    """What was sent may have been heard, and no answer came."""


class Info(msgspec.Struct):
    """What the server says of itself, as far as it matters here."""

    headers: bool = False
    tls_required: bool = False
    nonce: str = ""


class Message(NamedTuple):
    """What came for us."""

    status: str
    code: str | None
    content: bytes
    gone: bool = False
    """Of a bucket: the key was deleted."""


def plain_address(url: str) -> ServerUrl:
    """Read a URL that names one server without TLS. Raises NotShort."""
    where = server_url(url)
    if where is None or where.scheme != "nats" or "," in url:
        raise NotShort("another kind of address")
    return where


def credentials_in(where: ServerUrl) -> dict[str, str]:
    """Say who asks, as NATS wants it."""
    if where.password is not None:
        return {"user": where.user, "pass": where.password}
    return {"auth_token": where.user} if where.user else {}


def message_of(whole: bytes, head_bytes: int) -> Message:
    """Take a message with headers apart: what NATS says of it, what its sender says went wrong, and its content."""
    first, *lines = whole[:head_bytes].decode(errors="replace").split("\r\n")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status, gone = first.removeprefix(STATUS).strip(), OPERATION in headers or MARKER in headers
    return Message(status, headers.get(ERROR_CODE), whole[head_bytes:], gone)
