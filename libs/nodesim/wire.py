"""How requests are read and answers written: NodeODM's JSON, and Express's habits around it."""

import html
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from clusterodm.libs.nodesim import forms, options, settings
from clusterodm.libs.nodesim.gate import Dropped, Reset
from clusterodm.libs.nodesim.node import Node, Refused
from clusterodm.libs.nodesim.store import StoreError
from clusterodm.libs.nodesim.tasks import TaskError

BODY_LIMIT_BYTES: Final = 100 * 1024
REFUSALS: Final = (Refused, StoreError, TaskError, options.OptionsRefused, forms.FormRefused, settings.BadSetting)

Handler = Callable[[Request], Awaitable[Response]]


def guarded(node: Node, handler: Handler) -> Handler:
    """Let only those in who know the token, which comes as a query parameter, once."""

    async def checked(request: Request) -> Response:
        if node.settings.token and request.query_params.getlist("token") != [node.settings.token]:
            return answer({"error": "Invalid authentication token: token does not match."})
        return await handler(request)

    return checked


def answer(content: Any) -> Response:
    """Encode JSON as Express does."""
    response = Response(msgspec.json.encode(content))
    response.headers["content-type"] = "application/json; charset=utf-8"
    return response


async def fields(request: Request) -> dict[str, str]:
    """Read an urlencoded or JSON body; of any other, nothing. Raises: Refused, OptionsRefused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        parsed = parse_qs((await body(request)).decode(errors="replace"), keep_blank_values=True)
        return {name: ",".join(values) for name, values in parsed.items()}
    if kind == "application/json":
        text = (await body(request)).decode(errors="replace")
        content = options.parse_json(text) if text else {}
        return {name: _text(value) for name, value in content.items()} if isinstance(content, dict) else {}
    return {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode() if value else ""


async def body(request: Request) -> bytes:
    """Read a small body. Raises: Refused."""
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > BODY_LIMIT_BYTES:
            raise Refused("request entity too large")
    return bytes(read)


async def refused(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    """Answer a refusal."""
    return answer({"error": str(error)})


async def dropped(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    """Answer nothing."""
    return Reset()


async def not_found(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    """Answer as Express does to what it does not know."""
    text = html.escape(f"Cannot {request.method} {request.url.path}")
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
        f"<body>\n<pre>{text}</pre>\n</body>\n</html>\n"
    )
    return Response(page, HTTPStatus.NOT_FOUND, media_type="text/html")


EXCEPTION_HANDLERS: Final = {HTTPException: not_found, Dropped: dropped} | dict.fromkeys(REFUSALS, refused)
