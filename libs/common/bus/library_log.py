"""What nats-py logs by itself: a line of ours each, without its traceback. It says so little else that nobody would look for it there.

Its errors that come by callbacks are told where connections are opened (connection.py). This is the rest: what it did not expect itself, such as an
answer to a ping that nobody waits for any more. It then stops reading, and makes a new connection when pings are not answered.
"""

import logging
from typing import Final

import structlog

from clusterodm.libs.common.telemetry.log import hide

log = structlog.get_logger()

LIBRARY: Final = "nats"
"""The logger above all of nats-py's."""


class LibraryLines(logging.Handler):
    """Turns the library's records into lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        error = record.exc_info[1] if record.exc_info else None
        said = hide(record.getMessage())
        log.warning("nats.library_reported", said=said, error=repr(error) if error else "", module=record.name)


def take_over() -> None:
    """Take over what the library logs; once is enough, and again does nothing."""
    library = logging.getLogger(LIBRARY)
    if not any(isinstance(handler, LibraryLines) for handler in library.handlers):
        library.addHandler(LibraryLines(logging.WARNING))
        library.propagate = False
