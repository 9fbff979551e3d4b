"""`clusterodm hash-password`: asks for a password, and writes the hash that may be set instead."""

import secrets
import sys
from collections.abc import Sequence
from typing import Final

from clusterodm.libs.common.errors import Refused
from clusterodm.services.admin.access.passwords import LONGEST_COUNT, hashed
from clusterodm.services.admin.cli.adapters import typed

SALT_BYTES: Final = 16
USAGE: Final = """\
usage: clusterodm hash-password

Asks for a password, or reads a line of standard input, and writes a hash of it for --admin-pass, --admin-operator-pass,
--admin-viewer-pass, or a file that --admin-pass-file and the like name.
"""


def main(argv: Sequence[str]) -> int:
    """Write the hash; the exit code."""
    if argv:
        print(USAGE, end="", file=sys.stdout if argv[0] in {"-h", "--help"} else sys.stderr)
        return 0 if argv[0] in {"-h", "--help"} else 2
    try:
        given = typed("Password: ")
    except Refused as error:
        return complain(error.message)
    if not 0 < len(given) <= LONGEST_COUNT:
        return complain(f"a password has 1 to {LONGEST_COUNT} characters")
    print(hashed(given, secrets.token_bytes(SALT_BYTES)))  # noqa: T201 same
    return 0


def complain(reason: str) -> int:
    """Say what is wrong; the exit code."""
    print(f"clusterodm hash-password: {reason}", file=sys.stderr)  # noqa: T201 same
    return 2
