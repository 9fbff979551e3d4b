"""What an answer on the bus says: the reply, or the error that its handler raised."""

from typing import Any, Final, TypeVar

import msgspec

from clusterodm.libs.common.errors import ERROR_NAMES, BusFailed
from clusterodm.libs.common.messages.kinds import Request

Reply = TypeVar("Reply")

CAUSE: Final = "Clusterodm-Cause"
"""The header of a request that says what it is asked for."""
MESSAGE_ID: Final = "Nats-Msg-Id"
ERROR_CODE: Final = "Nats-Service-Error-Code"


def reply_in(request: Request[Any, Reply], code: str | None, content: bytes) -> Reply:
    """Read an answer; `code`: what its header says that went wrong."""
    if code:
        raise ERROR_NAMES.get(code, BusFailed)(content.decode(errors="replace"))
    try:
        reply: Reply = msgspec.json.decode(content, type=request.reply)
    except msgspec.DecodeError as error:
        raise BusFailed(f"{request.owner} answered {request.name} with nonsense: {error}") from None
    return reply
