"""What a text of the file may look like: each function says what is wrong with one; empty: nothing is.

Only what no provider could make sense of is a mistake: names are the provider's own business (`asr check --online` asks it).
"""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

WEB: Final = ("http", "https")
BUCKET: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
"""Wider than Amazon's own rule: old buckets, and other storages, have capitals and more letters."""
PART: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
IMAGE: Final = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+|:\d+)/|\[[0-9a-fA-F:]+\](?::\d+)?/)?{PART}(?:/{PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9]+:[0-9a-fA-F]{32,})?"
)
"""A reference, as docker has it: registry, path, tag, digest."""


def mistake_in_text(value: str) -> str:
    """Look for what is invisible, and no part of any name, key or address."""
    if value != value.strip():
        return "has blanks or line ends around it"
    return "" if value.isprintable() else "has characters that cannot be seen (a line end, a tab)"


def mistake_in_address(value: str, schemes: Collection[str] = WEB) -> str:
    """Look whether a text is the address of a server. An address with a password would be shown with it."""
    expected = f"is {value!r}, expected an address like {next(iter(schemes))}://host"
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 it is read when it is asked for
    except ValueError:
        return expected
    if "@" in parts.netloc:
        return "has a user or a password in it: put keys where keys belong"
    blank = any(each.isspace() for each in value)
    return expected if blank or parts.scheme not in schemes or not parts.hostname else ""


def mistake_in_cloud_key(value: str) -> str:
    """Look whether the head of a request can carry a key."""
    fits = value.isascii() and value.isprintable() and " " not in value
    return "" if fits else "has characters that no key has: blanks, line ends, or letters beyond ASCII"


def mistake_in_script(value: str) -> str:
    """Look at the address of a script; the original's examples have it in quotation marks, as a shell wants it."""
    return mistake_in_address(value.strip("'\""))


def mistake_in_storage(value: str) -> str:
    """Look at the address of a storage, which may do without its beginning, as the original's examples do."""
    address = value if "://" in value else f"https://{value}"
    return f"is {value!r}, expected an address like s3.example.org" if mistake_in_address(address) else ""


def mistake_in_bucket(value: str) -> str:
    """Look at the name of a bucket."""
    return "" if BUCKET.fullmatch(value) else f"is {value!r}, which is no name of a bucket"


def mistake_in_image(value: str) -> str:
    """Look at the name of a container's image."""
    return (
        ""
        if IMAGE.fullmatch(value)
        else f"is {value!r}, which is no name of an image (registry/path:tag, in small letters)"
    )
