"""Multipart bodies as they are really sent, and as they should not be, with what becomes of each here.

`records/multipart.json` holds what the peers answered to each of them: NodeODM 2.2.4's parser (multer 1.4.4 on busboy 0.2.14) and
today's (multer 2.5.0 on busboy 1.6.0), both as `upload.array("images")`. To record again, where node is:

    npm install multer1@npm:multer@1.4.4 multer2@npm:multer@2.5.0
    python -m tests.multipart_cases | node tests/multipart_peers.js > tests/records/multipart.json
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

PIXELS = "pixels"


@dataclass(frozen=True)
class Case:
    """A body, and what is expected of it."""

    id: str
    body: bytes
    kept: tuple[str, ...] = ()
    """Names under which files are kept; nothing with `refused`."""
    refused: str = ""
    """Words of the refusal."""
    fields: tuple[tuple[str, str], ...] = ()
    contents: tuple[bytes, ...] | None = None
    """Of the files; usually all are PIXELS."""
    why: str = ""
    """Why NodeODM 2.2.4 is not followed."""
    content_type: bytes = b"multipart/form-data; boundary=b"


def part(
    disposition: str | bytes, content: bytes = PIXELS.encode(), more: bytes = b"Content-Type: image/jpeg\r\n"
) -> bytes:
    """Write a part."""
    written = disposition if isinstance(disposition, bytes) else disposition.encode()
    return b"--b\r\nContent-Disposition: " + written + b"\r\n" + more + b"\r\n" + content + b"\r\n"


def file(name: str | bytes, more: bytes = b"Content-Type: image/jpeg\r\n") -> bytes:
    """Write a whole body with one file; what `name` is stands after `name="images"; `."""
    written = name if isinstance(name, bytes) else name.encode()
    return part(b'form-data; name="images"; ' + written, more=more) + END


END = b"--b--\r\n"
SKIPPED = "it skips the part and says nothing"
EITHER = "two readers understand it differently"
ONE = part('form-data; name="images"; filename="a.jpg"')


def names() -> Iterator[Case]:
    """File names as clients encode them."""
    yield Case("curl, requests, httpx, browsers", file('filename="DJI (1).JPG"'), ("DJI (1).JPG",))
    yield Case("UTF-8 between quotes", file('filename="Übung 東京.jpg"'), ("Übung 東京.jpg",))
    yield Case("decomposed (NFD) stays so", file('filename="u\u0308.jpg"'), ("u\u0308.jpg",))
    yield Case("composed (NFC) stays so", file('filename="\u00fc.jpg"'), ("\u00fc.jpg",))
    yield Case(
        "Latin-1 between quotes",
        file(b'filename="\xfcber.jpg"'),
        ("über.jpg",),
        why="its replacement characters make one name of many",
    )
    yield Case("browser's quote", file('filename="a%22b.jpg"'), ("a%22b.jpg",))
    yield Case("Go's and httpx's quote", file('filename="a\\"b.jpg"'), ('a"b.jpg',))
    yield Case("Go's and httpx's backslash", file('filename="x\\\\b.jpg"'), ("b.jpg",))
    yield Case("percent signs", file('filename="100%25 %20.jpg"'), ("100%25 %20.jpg",))
    yield Case(
        "aiohttp 3.7 to 3.8: both",
        file("filename=\"DJI%20%281%29.JPG\"; filename*=utf-8''DJI%20%281%29.JPG"),
        ("DJI (1).JPG",),
    )
    yield Case(
        "aiohttp 3.14: one, encoded, after the type",
        b"--b\r\nContent-Type: image/jpeg\r\n"
        b'Content-Disposition: form-data; name="images"; filename="DJI%20%281%29%C3%BC.JPG"\r\n\r\npixels\r\n' + END,
        ("DJI (1)ü.JPG",),
        why="aiohttp encodes names without saying so",
    )
    yield Case("encoded, before the type", file('filename="DJI%20%281%29.JPG"'), ("DJI%20%281%29.JPG",))
    yield Case(
        ".NET: a word and the extended name",
        file(b"filename=\"=?utf-8?B?w7xiZXIuanBn?=\"; filename*=utf-8''%C3%BCber.jpg"),
        ("über.jpg",),
        why="its replacement characters make one name of many",
    )
    yield Case(
        ".NET, extended name first",
        file(b"filename*=utf-8''%C3%BCber.jpg; filename=\"=?utf-8?B?w7xiZXIuanBn?=\""),
        ("über.jpg",),
        why="it takes the last, and the extended one is meant",
    )
    yield Case(
        ".NET: a word alone",
        file('filename="=?utf-8?B?w7xiZXIuanBn?="'),
        ("über.jpg",),
        why="ODM passes over a photo without an ending",
    )
    yield Case(
        "a word in Q coding",
        file('filename="=?iso-8859-1?Q?=FCber_1.jpg?="'),
        ("über 1.jpg",),
        why="ODM passes over a photo without an ending",
    )
    yield Case("not quite a word", file('filename="=?utf-8?B?.jpg"'), ("=?utf-8?B?.jpg",))
    yield Case("a word that is none", file('filename="=?utf-8?B?x?="'), ("=?utf-8?B?x?=",))
    yield Case(
        "extended alone",
        file("filename*=UTF-8'en'%e2%82%ac.jpg"),
        ("€.jpg",),
        why="its replacement characters make one name of many",
    )
    yield Case(
        "extended in Latin-1",
        file("filename*=iso-8859-1''%A3.jpg"),
        ("£.jpg",),
        why="its replacement characters make one name of many",
    )
    yield Case("extended with a folder", file("filename*=utf-8''a%2Fb.jpg"), ("b.jpg",))
    yield Case(
        "extended in an unknown charset",
        file("filename=\"a.jpg\"; filename*=klingon''%A3.jpg"),
        ("a.jpg",),
        why="the plain name can be read",
    )
    yield Case(
        "extended that is no UTF-8",
        file("filename=\"a.jpg\"; filename*=utf-8''%FF.jpg"),
        ("a.jpg",),
        why="its replacement characters make one name of many",
    )
    yield Case(
        "extended, not readable, alone", file("filename*=klingon''%A3.jpg"), refused="cannot be read", why=EITHER
    )
    yield Case("extended between quotes", file('filename="x.jpg"; filename*="utf-8\'\'a%20b.jpg"'), ("a b.jpg",))
    yield Case(
        "extended and empty",
        file("filename=\"a.jpg\"; filename*=utf-8''"),
        ("a.jpg",),
        why="the plain name can be read",
    )
    yield Case(
        "continued (RFC 2231)",
        file('filename*0="DJI "; filename*1="1.jpg"'),
        refused="cannot be read",
        why="no form is written so (RFC 7578); its name is another one",
    )


def written() -> Iterator[Case]:
    """Names as they are written down, and as they may be kept."""
    yield Case("without quotes", file("filename=a.jpg"), ("a.jpg",))
    yield Case("without quotes, a space", file("filename=DJI 1.jpg"), ("DJI 1.jpg",), why="it drops the space")
    yield Case("without quotes, UTF-8", file("filename=ü.jpg"), ("ü.jpg",))
    yield Case("spaces around the equals sign", file('filename = "a.jpg"'), ("a.jpg",))
    yield Case("parameters in capitals", file('FILENAME="a.jpg"'), ("a.jpg",))
    yield Case("semicolon at the end", file('filename="a.jpg";'), ("a.jpg",))
    yield Case("semicolon in the name", file('filename="a;b=c.jpg"'), ("a;b=c.jpg",))
    yield Case("no end of the quotes", file('filename="a.jpg'), refused="no end", why=EITHER)
    yield Case("text behind the quotes", file('filename="a.jpg"x'), refused="no end", why=EITHER)
    yield Case("no semicolon between parameters", file('x="1" filename="a.jpg"'), refused="no end")
    yield Case("two names", file('filename="a.jpg"; filename="b.jpg"'), refused="comes twice", why=EITHER)
    yield Case("the same name twice", file('filename="a.jpg"; filename="a.jpg"'), ("a.jpg",))
    yield Case("Windows path", file('filename="C:\\fakepath\\x.jpg"'), ("x.jpg",))
    yield Case("Windows path, escaped", file('filename="C:\\\\dir\\\\x.jpg"'), ("x.jpg",))
    yield Case("folders", file('filename="a/b/c.jpg"'), ("c.jpg",))
    yield Case("parents", file('filename="../../etc/c.jpg"'), ("c.jpg",))
    yield Case("a dot", file('filename="."'), ("_.",), why="as ClusterODM: it is content")
    yield Case("only a folder", file('filename="a/"'), ("_",), why="as ClusterODM: it is content")
    yield Case("empty, with content", file('filename=""'), ("_",), why="as ClusterODM: it is content")
    yield Case("empty, without quotes", file("filename="), ("_",), why="as ClusterODM: it is content")
    yield Case("body.json", file('filename="body.json"'), ("_body.json",))
    yield Case("Windows' own names", file('filename="CON.jpg"'), ("CON.jpg",))
    yield Case("colon", file('filename="12:30.jpg"'), ("12:30.jpg",))
    yield Case("spaces and dots at the end", file('filename=" a. "'), (" a. ",))
    yield Case("too long", file('filename="' + "x" * 252 + '.jpg"'), refused="longer than 255 bytes")
    yield Case("NUL", file('filename="a\0.jpg"'), refused="Malformed part header", why="no disk keeps it")
    yield Case(
        "control character", file('filename="a\x01.jpg"'), refused="Malformed part header", why="consoles obey it"
    )
    yield Case(
        "control character, encoded",
        file("filename*=utf-8''a%00.jpg"),
        refused="control characters",
        why="no disk keeps it",
    )
    yield Case("tab", file('filename="a\tb.jpg"'), ("a\tb.jpg",))


def parts() -> Iterator[Case]:
    """Heads of parts, and parts that might get lost."""
    yield Case(
        "folded head",
        b'--b\r\nContent-Disposition: form-data;\r\n name="images";\r\n\tfilename="a.jpg"\r\nContent-Type:\r\n image/jpeg\r\n\r\npixels\r\n'
        + END,
        ("a.jpg",),
    )
    yield Case("folded inside the name", file('filename="a\r\n b.jpg"'), ("a b.jpg",))
    yield Case(
        "head in small letters",
        b"--b\r\ncontent-disposition: FORM-DATA; name=images; filename=a.jpg\r\n\r\npixels\r\n" + END,
        ("a.jpg",),
    )
    yield Case(
        "no space behind the colon",
        b'--b\r\nContent-Disposition:form-data;name="images";filename="a.jpg"\r\n\r\npixels\r\n' + END,
        ("a.jpg",),
    )
    yield Case(
        "space before the colon",
        b'--b\r\nContent-Disposition : form-data; name="images"; filename="a.jpg"\r\n\r\npixels\r\n' + END,
        refused="Malformed part header",
    )
    yield Case(
        "two dispositions",
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\nContent-Disposition: form-data; name="images"; filename="b.jpg"\r\n\r\npixels\r\n'
        + END,
        ("a.jpg",),
    )
    yield Case(
        "a line that is none", file('filename="a.jpg"', b"nonsense\r\n"), refused="Malformed part header", why=EITHER
    )
    yield Case(
        "no disposition",
        ONE + b"--b\r\nContent-Type: image/jpeg\r\n\r\npixels\r\n" + END,
        refused="no Content-Disposition",
        why=SKIPPED,
    )
    yield Case("no head", ONE + b"--b\r\n\r\npixels\r\n" + END, refused="no Content-Disposition", why=SKIPPED)
    yield Case(
        "attachment",
        ONE + part('attachment; name="images"; filename="b.jpg"') + END,
        refused="no Content-Disposition",
        why=SKIPPED,
    )
    yield Case(
        "a file without a name among others",
        ONE + part('form-data; name="images"', more=b"") + END,
        refused="no file name",
        why=SKIPPED,
    )
    yield Case(
        "octets without a name",
        ONE + part('form-data; name="images"', more=b"Content-Type: application/octet-stream\r\n") + END,
        ("a.jpg", "_"),
        why="as ClusterODM: it is content",
    )
    yield Case(
        "empty input of a browser",
        ONE + part('form-data; name="images"; filename=""', b"", b"Content-Type: application/octet-stream\r\n") + END,
        ("a.jpg",),
    )
    yield Case("empty file", part('form-data; name="images"; filename="a.jpg"', b"") + END, ("a.jpg",), contents=(b"",))
    yield Case(
        "head, then the boundary",
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n--b--\r\n',
        ("a.jpg",),
        contents=(b"",),
        why="RFC 2046: a part may have no body",
    )
    yield Case(
        "another field", part('form-data; name="photos"; filename="a.jpg"') + END, refused="Unexpected field: photos"
    )
    yield Case(
        "field with brackets",
        part('form-data; name="images[]"; filename="a.jpg"') + END,
        refused="Unexpected field: images[]",
    )
    yield Case("no field name", part('form-data; filename="a.jpg"') + END, refused="Unexpected field: ")
    yield Case(
        "the same name in two parts",
        ONE + part('form-data; name="images"; filename="a.jpg"', b"other") + END,
        ("a.jpg", "a_.jpg"),
        contents=(PIXELS.encode(), b"other"),
    )
    yield Case(
        "fields beside files",
        part('form-data; name="name"', "Übung".encode(), b"") + ONE + END,
        ("a.jpg",),
        fields=(("name", "Übung"),),
    )
    yield Case(
        "field in Latin-1",
        part('form-data; name="name"', b"\xfc", b"Content-Type: text/plain; charset=ISO-8859-1\r\n") + ONE + END,
        ("a.jpg",),
        fields=(("name", "ü"),),
    )
    yield Case(
        "field in an unknown charset",
        part('form-data; name="name"', b"u", b"Content-Type: text/plain; charset=klingon\r\n") + ONE + END,
        ("a.jpg",),
        fields=(("name", "u"),),
    )
    yield Case(
        "base64",
        file('filename="a.jpg"', b"Content-Transfer-Encoding: base64\r\n"),
        refused="base64 is not supported",
        why="it keeps the letters, and no photo",
    )
    yield Case(
        "quoted-printable",
        file('filename="a.jpg"', b"Content-Transfer-Encoding: Quoted-Printable\r\n"),
        refused="quoted-printable is not supported",
        why="it keeps the letters, and no photo",
    )
    yield Case(
        "binary, as Java writes",
        file('filename="a.jpg"', b"Content-Type: image/jpeg\r\nContent-Transfer-Encoding: binary\r\n"),
        ("a.jpg",),
    )
    nested = b'--i\r\nContent-Disposition: file; filename="b.jpg"\r\n\r\npixels\r\n--i--'
    yield Case(
        "multipart/mixed inside",
        ONE + part('form-data; name="images"', nested, b"Content-Type: multipart/mixed; boundary=i\r\n") + END,
        refused="inside a part",
        why=SKIPPED,
    )
    yield Case("a long head", file('filename="a.jpg"', b"X-A: " + b"x" * 15_000 + b"\r\n"), ("a.jpg",))
    yield Case(
        "a huge head",
        file('filename="a.jpg"', b"X-A: " + b"x" * 20_000 + b"\r\n"),
        refused="head of a part is too long",
        why="as busboy 1.6: 16 kB",
    )
    yield Case("many lines in the head", file('filename="a.jpg"', b"X: 1\r\n" * 2100), ("a.jpg",))


def frames() -> Iterator[Case]:
    """What is around the parts."""
    yield Case("preamble and epilogue", b"hello\r\n" + ONE + END + b"bye", ("a.jpg",))
    yield Case("line end before the first boundary", b"\r\n" + ONE + END, ("a.jpg",))
    yield Case("no line end at the end", ONE + b"--b--", ("a.jpg",))
    yield Case(
        "spaces behind a boundary",
        b"--b  \t\r\n" + ONE[5:] + b"--b-- \r\n",
        ("a.jpg",),
        why="RFC 2046: transport padding",
    )
    yield Case("no last boundary", ONE, refused="Unexpected end")
    yield Case("ends inside a file", ONE[:-4], refused="Unexpected end")
    yield Case("ends inside a head", ONE[:30], refused="Unexpected end")
    yield Case("ends behind one dash", ONE + b"--b-", refused="Unexpected end")
    yield Case("empty body", b"", refused="Unexpected end")
    yield Case("no parts", END, refused="No files uploaded")
    yield Case("line feeds only", (ONE + END).replace(b"\r\n", b"\n"), refused="lines end with CRLF")
    yield Case(
        "another boundary",
        ONE + END,
        refused="no line begins with the boundary",
        content_type=b"multipart/form-data; boundary=c",
    )
    yield Case("boundary goes on", ONE + b"--bc\r\nx\r\n" + END, refused="other text follows a boundary")
    yield Case("a part behind the end", ONE + END + ONE + END, refused="a part follows", why=SKIPPED)
    yield Case(
        "dashes in a file",
        part('form-data; name="images"; filename="a.jpg"', b"\r\n--\r\n-b\r\n--a") + END,
        ("a.jpg",),
        contents=(b"\r\n--\r\n-b\r\n--a",),
    )
    yield Case(
        "boundary in quotes",
        (ONE + END).replace(b"--b", b"--b c:=?"),
        ("a.jpg",),
        content_type=b'multipart/form-data; boundary="b c:=?"',
    )
    yield Case(
        "boundary as Java mail writes",
        (ONE + END).replace(b"--b", b"------=_Part_1"),
        ("a.jpg",),
        content_type=b"multipart/form-data; boundary=----=_Part_1; charset=utf-8",
        why="the boundary is plain, without its quotes too",
    )
    yield Case(
        "boundary of 100 characters",
        (ONE + END).replace(b"--b", b"--" + b"b" * 100),
        ("a.jpg",),
        content_type=b"multipart/form-data; boundary=" + b"b" * 100,
    )
    yield Case(
        "two boundaries",
        ONE + END,
        refused="comes twice",
        content_type=b"multipart/form-data; boundary=b; boundary=c",
        why=EITHER,
    )
    yield Case("no boundary", ONE + END, refused="Boundary not found", content_type=b"multipart/form-data")


CASES = (*names(), *written(), *parts(), *frames())


if __name__ == "__main__":
    lines = [
        {"id": case.id, "type": case.content_type.decode("latin-1"), "body": case.body.decode("latin-1")}
        for case in CASES
    ]
    json.dump(lines, sys.stdout)
