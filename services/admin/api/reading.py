"""Small files and secrets that an operator names on the command line."""

import getpass
import sys
from pathlib import Path
from typing import Final

from libs.common.errors import Refused

STANDARD_INPUT: Final = "-"


def read(path: str) -> str:
    """Read a file. Raises Refused."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def read_secret(path: str) -> str:
    """Read a secret from a file or from standard input, without showing it on a terminal."""
    if path != STANDARD_INPUT:
        return read(path).strip()
    return getpass.getpass("Token: ").strip() if sys.stdin.isatty() else sys.stdin.readline().strip()
