"""Small forms that are read as a whole: the fields of init, cancel, remove and restart, in any of three notations. Pure."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from libs.common.untrusted import Malformed, decode_any_json
from services.proxy.core.multipart import FIELDS_LIMIT_BYTES, FIELDS_LIMIT_COUNT
from services.proxy.core.parts import MalformedBody

FORM_LIMIT_BYTES: Final = FIELDS_LIMIT_BYTES
"""The longest urlencoded or JSON body."""

URLENCODED: Final = b"application/x-www-form-urlencoded"
MULTIPART: Final = b"multipart/form-data"
JSON: Final = b"application/json"


def kind_of(content_type: bytes | None) -> bytes:
    """Take the media type out of a Content-Type header. Raises MalformedBody when there is none."""
    if not content_type:
        raise MalformedBody("Missing Content-Type")
    return content_type.partition(b";")[0].strip().lower()


def unsupported(kind: bytes) -> MalformedBody:
    """Say that a media type is not understood here."""
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
    """Read a JSON object as a form: what is not a string becomes its JSON text. Raises MalformedBody."""
    try:
        content = decode_any_json(body, limit_bytes=FORM_LIMIT_BYTES)
    except Malformed:
        raise MalformedBody("Malformed JSON in the body") from None
    if not isinstance(content, Mapping):
        raise MalformedBody("The body must be a JSON object")
    return {str(name): text_of(value) for name, value in content.items() if value is not None}


def text_of(value: Any) -> str:
    """Write a JSON value as a form would hold it."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
