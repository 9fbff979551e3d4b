"""`clusterodm hash-password`: asks for a password, and writes the hash that may be set instead."""

import getpass
import secrets
import sys
from collections.abc import Sequence
from typing import Final

from clusterodm.services.admin.access.passwords import LONGEST_COUNT, hashed

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
    given = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not 0 < len(given) <= LONGEST_COUNT:
        print(f"clusterodm hash-password: a password has 1 to {LONGEST_COUNT} characters", file=sys.stderr)  # noqa: T201 same
        return 2
    print(hashed(given, secrets.token_bytes(SALT_BYTES)))  # noqa: T201 same
    return 0
