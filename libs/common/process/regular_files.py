"""Files that are read again while a process runs, whatever stands at their path by then: a pipe, a device or a directory holds up nobody."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from clusterodm.libs.common.errors import Refused

FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""A pipe that nobody writes to opens at once, and a terminal does not become ours."""
NOTHING_BEHIND: Final = errno.ENXIO
"""What is said of a socket, and of a device without a driver."""


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """Read a file, and no more of it than one byte beyond the limit. Raises OSError, and Refused when it is no regular file."""
    with os.fdopen(opened(path), "rb") as file:
        return file.read(limit_bytes + 1)


def opened(path: Path) -> int:
    """Open it, without waiting for anybody. Raises OSError and Refused."""
    try:
        descriptor = os.open(path, FLAGS)
    except OSError as error:
        if error.errno == NOTHING_BEHIND:
            raise not_regular() from None
        raise
    except ValueError:  # a NUL in its name
        raise Refused("no file has such a name") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise not_regular()
    return descriptor


def not_regular() -> Refused:
    """Say what is wrong with it."""
    return Refused("it is no regular file")
