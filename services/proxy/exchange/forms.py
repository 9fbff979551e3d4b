"""Small forms, read as they come: the fields of init, cancel, remove and restart, in any of three notations."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from clusterodm.libs.common.untrusted import Malformed, decode_any_json
from clusterodm.services.proxy.errors import MalformedBody
from clusterodm.services.proxy.exchange.multipart import (
    FIELD_BYTES,
    FIELD_LIMIT_BYTES,
    FIELDS_LIMIT_COUNT,
    FileBegins,
    FormField,
    MultipartReader,
    boundary_of,
)
from clusterodm.services.proxy.exchange.request import RequestContext

FORM_LIMIT_BYTES: Final = FIELD_LIMIT_BYTES
"""The longest urlencoded or JSON body."""

URLENCODED: Final = b"application/x-www-form-urlencoded"
MULTIPART: Final = b"multipart/form-data"
JSON: Final = b"application/json"

FORMS: Final = frozenset((URLENCODED, JSON))
"""What else than multipart holds fields."""


def kind_of(content_type: bytes | None) -> bytes:
    """Take the media type out of a Content-Type header; empty: there is none."""
    return (content_type or b"").partition(b";")[0].strip().lower()


def unsupported(kind: bytes) -> MalformedBody:
    """Say that a media type is not understood here."""
    if not kind:
        return MalformedBody("Missing Content-Type")
    return MalformedBody(f"Unsupported content type: {kind.decode('latin-1')[:100]}")


def read_urlencoded(body: bytes) -> dict[str, str]:
    """Read a urlencoded form; of a name that comes twice the last value counts. Raises MalformedBody."""
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=FIELDS_LIMIT_COUNT, encoding="utf-8", errors="replace"
        )
    except ValueError:
        raise MalformedBody("Malformed form data") from None
    return dict(pairs)


def read_json(body: bytes) -> dict[str, str]:
    """Read JSON as a form: what is not a string becomes its JSON text; what is no object has no fields. Raises MalformedBody."""
    if not body:
        return {}
    try:
        content = decode_any_json(body, limit_bytes=FORM_LIMIT_BYTES)
    except Malformed:
        raise MalformedBody("Malformed JSON in the body") from None
    if not isinstance(content, Mapping):
        return {}
    return {str(name): text_of(value) for name, value in content.items() if value is not None}


def read_fields(kind: bytes, body: bytes) -> dict[str, str]:
    """Read a body of init, where each field may be missing. What is no form has none, as for NodeODM. Raises MalformedBody."""
    if kind == JSON:
        return read_json(body)
    return read_urlencoded(body) if kind == URLENCODED else {}


def text_of(value: Any) -> str:
    """Write a JSON value as a form would hold it."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


async def read_form(exchange: RequestContext, stall_s: float, *, any_kind: bool = False) -> dict[str, str]:
    """Read the fields of a form; of `any_kind`, where none of them must be there. Raises MalformedBody, ServerBusy, ClientGone, BodyStalled."""
    content_type = exchange.header(b"content-type")
    kind = kind_of(content_type)
    if kind == MULTIPART:
        return await read_multipart_fields(exchange, boundary_of(content_type or b""), stall_s)
    body = await exchange.body(FORM_LIMIT_BYTES, stall_s)
    if body is None:
        raise MalformedBody("The body is too long")
    if body and not any_kind and kind not in FORMS:
        raise unsupported(kind)
    fields = read_fields(kind, body)
    exchange.keep(len(body) + len(fields) * FIELD_BYTES)
    return fields


async def read_multipart_fields(exchange: RequestContext, boundary: bytes, stall_s: float) -> dict[str, str]:
    """Read the fields of a multipart form. A file is refused: nothing here would keep it."""
    reader = MultipartReader(boundary)
    fields: dict[str, str] = {}
    async for chunk in exchange.chunks(stall_s):
        for event in reader.feed(chunk):
            match event:
                case FormField(name, value):
                    fields[name] = value
                case FileBegins(name, _):
                    raise MalformedBody(
                        f"Unexpected file in the field {name[:100]}: files go to /task/new/upload/<uuid>"
                    )
                case _:
                    pass
        exchange.keep(reader.kept_bytes)
    reader.finish()
    await exchange.bounds.together.turn(reader.kept_bytes)
    return fields
