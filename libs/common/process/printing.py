"""What a command prints has to arrive: where it cannot be written, one line says so, and the exit code is no success.

A reader that has gone (`| head`) wanted no more of it, and ends the program quietly.
"""

import contextlib
import errno
import io
import os
import sys
from typing import Final, TextIO

EXIT_UNWRITTEN: Final = 1
EXIT_BROKEN_PIPE: Final = 128 + 13
"""As shells say it of SIGPIPE."""
CLOSED: Final = OSError(errno.EBADF, "standard output is closed")
UNWRITABLE: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE))
"""What the system says of an output that takes no more."""


def to_nobody() -> TextIO:
    """Open what takes all that is written to it."""
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 it lasts as long as the process


def show_what_cannot_be_written(output: TextIO) -> None:
    """Let a character that the terminal's encoding has not be written as its escape, as on standard error: an umlaut in a name is no reason to fail."""
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="backslashreplace")


def is_of_output(error: OSError) -> bool:
    """Whether this is about what is printed, and not about a file that has a name."""
    return error.filename is None and error.errno in UNWRITABLE


def given_up(error: OSError, prog: str) -> int:
    """Say that what was printed did not arrive, and print no more; the exit code."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # or Python would complain of it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return EXIT_BROKEN_PIPE
    with contextlib.suppress(OSError):
        print(f"{prog}: cannot write the output: {error.strerror}", file=sys.stderr or to_nobody())
    return EXIT_UNWRITTEN
