r"""The head of one part of a multipart form: whose value it is, whether it is a file, and what the file is called. Pure.

The rules are those of RFC 7578 and of the forms that clients really send, in this order:

    filename*    RFC 5987, as aiohttp and .NET send it beside a `filename` that older servers understand: it wins (RFC 6266)
    filename     between quotes, or without; a backslash escapes quotes and backslashes only, so that `C:\x\y.jpg` survives
    neither      a field, or a file without a name when its type is application/octet-stream

Bytes above 127 are UTF-8, and Latin-1 where they cannot be UTF-8. A name that is one RFC 2047 word (`=?utf-8?B?...?=`, .NET again) is
decoded. `%22` stays: browsers write a quote so, and so may a file be called. aiohttp alone encodes whole names like that; its heads are
known by their order.

A part that cannot be kept as what it is meant to be is refused (`MalformedBody`). busboy, which NodeODM reads forms with, skips such
parts and the request succeeds without them: a photo that is missing is noticed by nobody. docs/multipart.md is the table of all cases.
"""

import re
from base64 import b64decode
from binascii import Error as MalformedBase64
from collections.abc import Iterator
from dataclasses import dataclass
from quopri import decodestring
from typing import Final
from urllib.parse import unquote_to_bytes

from clusterodm.services.proxy.errors import MalformedBody

USUAL: Final = re.compile(
    rb'Content-Disposition: form-data; name="([^"\\\x00-\x1f\x7f]*)"; filename="([^"\\\x00-\x1f\x7f]*)"'
    rb"(?:\r\nContent-Type: (?:image|application|text)/[\w.+-]+)?"
)
"""The head of a file as curl, browsers and requests write it: many requests are full of them."""
FOLD: Final = re.compile(rb"\r\n(?=[ \t])")
LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*+([\t -~\x80-\xff]*)")
"""One line of a head: no control characters, no space before the colon. Possessive: spaces are never given back to be tried again."""
PARAMETER: Final = re.compile(
    rb'[ \t]*;[ \t]*(?:([^\s;="]+)[ \t]*=[ \t]*(?:("(?:[^"\\]|\\.)*")[ \t]*(?=;|$)|(?!")([^;]*))|(?=;|$))', re.DOTALL
)
CHARSET: Final = re.compile(rb';[ \t]*charset[ \t]*=[ \t]*"?([\w-]+)', re.IGNORECASE)
ESCAPED: Final = re.compile(rb'\\(["\\])')
ENCODED: Final = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*+")
"""A name in which everything that could be encoded is, if there is anything."""
WORD: Final = re.compile(r"=\?([\w-]+)(?:\*[\w-]*)?\?([BbQq])\?([!->@-~]*)\?=")
WORDS: Final = re.compile(rf"{WORD.pattern}(?:[ \t]*{WORD.pattern})*")
UNENCODED: Final = frozenset({b"base64", b"quoted-printable", b"x-uuencode", b"uuencode"})
CHARSETS: Final = frozenset(
    {"utf-8", "utf8", "us-ascii", "ascii", "latin1", "koi8-r", "shift_jis", "euc-jp", "iso-2022-jp", "euc-kr"}
    | {"gb2312", "gbk", "gb18030", "big5", "utf-16", "utf-16le", "utf-16be"}
    | {f"iso-8859-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)}
    | {f"windows-125{number}" for number in range(9)}
)
"""Those of clients and mailers; Python knows stranger ones."""


@dataclass(frozen=True, slots=True)
class PartHead:
    """What the lines in front of a part say."""

    name: str
    filename: str | None
    """None: the part is a field. Empty: a file without a name."""
    charset: str = "utf-8"
    """What a field is written in."""


def read_head(head: bytes) -> PartHead:
    """Read the lines in front of a part. Raises MalformedBody."""
    if usual := USUAL.fullmatch(head):
        return usual_head(usual[1], usual[2])
    return read_lines(head)


def usual_head(name: bytes, filename: bytes) -> PartHead:
    """Put together what USUAL has found."""
    return PartHead(text_of(name), without_words(text_of(filename)))


def read_lines(head: bytes) -> PartHead:
    """Read them line by line, whatever they are. Raises MalformedBody."""
    lines = lines_of(head)
    kind, said = parameters_of(lines.get(b"content-disposition", b""))
    if kind != b"form-data":
        raise MalformedBody("Malformed multipart data: a part has no Content-Disposition: form-data")
    content_type = lines.get(b"content-type", b"")
    media = content_type.partition(b";")[0].strip().lower()
    if media.startswith(b"multipart/"):
        raise MalformedBody("Multipart forms inside a part are not supported")
    coding = lines.get(b"content-transfer-encoding", b"").strip().lower()
    if coding in UNENCODED:
        raise MalformedBody(f"Content-Transfer-Encoding {coding.decode()} is not supported: send the bytes as they are")
    filename = filename_of(said, encoded=next(iter(lines)) == b"content-type")
    if filename is None and media == b"application/octet-stream":
        filename = ""
    return PartHead(text_of(said.get(b"name", b"")), filename, charset_of(content_type))


def lines_of(head: bytes) -> dict[bytes, bytes]:
    """Take a head apart, folded lines joined; of a name that comes twice the first line counts. Raises MalformedBody."""
    found: dict[bytes, bytes] = {}
    for line in FOLD.sub(b"", head).split(b"\r\n") if head else ():
        match = LINE.fullmatch(line)
        if match is None:
            raise MalformedBody("Malformed part header")
        found.setdefault(match[1].lower(), match[2])
    return found


def parameters_of(value: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Split `form-data; name="a"` into its kind and its parameters, unquoted. Raises MalformedBody."""
    kind, _, _ = value.partition(b";")
    found: dict[bytes, bytes] = {}
    at = len(kind)
    while at < len(value):
        match = PARAMETER.match(value, at)
        if match is None or match.end() == at:
            raise MalformedBody("Malformed part header: a parameter has no end")
        if match[1] is not None:
            said = match[3].strip() if match[2] is None else ESCAPED.sub(rb"\1", match[2][1:-1])
            if found.setdefault(match[1].lower(), said) != said:
                raise MalformedBody("Malformed part header: a parameter comes twice")
        at = match.end()
    return kind.strip().lower(), found


def filename_of(said: dict[bytes, bytes], *, encoded: bool) -> str | None:
    """Find the file name that a disposition gives; None: the part is a field. Raises MalformedBody."""
    plain, extended = said.get(b"filename"), said.get(b"filename*")
    if extended is not None and (found := extended_of(extended)):
        return found
    if plain is not None:
        return name_of(text_of(plain), encoded=encoded)
    if any(name.startswith(b"filename*") for name in said):
        raise MalformedBody("Malformed part header: the file name cannot be read")
    return None


def name_of(plain: str, *, encoded: bool) -> str:
    """Decode a `filename`. `encoded`: the head is in aiohttp's order, the type first; aiohttp percent-encodes names and does not say so."""
    if encoded and "%" in plain and ENCODED.fullmatch(plain):
        try:
            return unquote_to_bytes(plain).decode()
        except UnicodeDecodeError:
            return plain
    return without_words(plain)


def charset_of(content_type: bytes) -> str:
    """Say what the text of a part is written in."""
    said = CHARSET.search(content_type)
    charset = said[1].decode("latin-1").lower() if said else "utf-8"
    return charset if charset in CHARSETS else "utf-8"


def extended_of(value: bytes) -> str | None:
    """Decode RFC 5987's `charset'language'percent-encoded`; None when it is not that."""
    charset, _, rest = value.partition(b"'")
    _, quote, encoded = rest.partition(b"'")
    name = charset.decode("latin-1").lower()
    if not quote or name not in CHARSETS:
        return None
    try:
        return unquote_to_bytes(encoded).decode(name)
    except UnicodeDecodeError:
        return None


def text_of(value: bytes) -> str:
    """Decode what stands in a head."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def without_words(name: str) -> str:
    """Decode a name that consists of RFC 2047 words; any other, and one that cannot be decoded, is left as it is."""
    if not name.startswith("=?") or WORDS.fullmatch(name) is None:
        return name
    try:
        return "".join(decoded_words(name))
    except (LookupError, ValueError, MalformedBase64):
        return name


def decoded_words(name: str) -> Iterator[str]:
    """Decode word after word. Raises LookupError, ValueError."""
    for charset, coding, encoded in WORD.findall(name):
        if charset.lower() not in CHARSETS:
            raise LookupError(charset)
        raw = b64decode(encoded, validate=True) if coding in "Bb" else decodestring(encoded, header=True)
        yield raw.decode(charset)
