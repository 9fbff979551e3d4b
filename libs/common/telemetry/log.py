"""Structured logs: one line per decision, ids as fields, never a token.

`configure()` is called once by each main. Text for people by default, JSON lines on demand. Every line passes
`redact`: whatever looks like a token in a URL, or stands under a secret's name, is replaced before it is rendered.
"""

import logging
import math
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

LEVELS: Final = {"silly": "debug", "verbose": "debug", "warn": "warning"}
"""The original's names for Python's levels."""
SECRET_FIELDS: Final = ("token", "password", "secret", "api_key", "authorization")
IN_QUERY: Final = re.compile(r"(?i)\b(token|password|secret|key|signature)=[^&\s\"']+")
IN_AUTHORITY: Final = re.compile(r"(?<=://)[^/@\s]+@")
HIDDEN: Final = "***"


def hide(text: str) -> str:
    """Replace tokens in URLs and queries that a text may hold."""
    return IN_AUTHORITY.sub(f"{HIDDEN}@", IN_QUERY.sub(rf"\1={HIDDEN}", text))


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take secrets out of one log line."""
    for field, value in event.items():
        if any(word in field.lower() for word in SECRET_FIELDS):
            event[field] = HIDDEN
        elif isinstance(value, str):
            event[field] = hide(value)
    return event


def configure(service: str, level: str, *, as_json: bool, debug: bool = False) -> None:
    """Set up logging for a process. `level` may be one of the original's names."""
    number = logging.getLevelName(LEVELS.get("debug" if debug else level, level).upper())
    stamp = (
        structlog.processors.TimeStamper(fmt="iso", utc=True)
        if as_json
        else structlog.processors.TimeStamper("%H:%M:%S")
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        stamp,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)
    )
    trace = structlog.processors.format_exc_info  # to text before `redact`, which then sees it
    structlog.configure(
        processors=[*shared, trace, redact, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    through_structlog = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, trace, redact, last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(through_structlog)
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


class Seldom:
    """Lets one line in so many seconds through: for what others can cause as often as they like."""

    def __init__(self, every_s: float = 1.0) -> None:
        self._every_s = every_s
        self._next_s = -math.inf
        self._kept_back_count = 0

    def passes(self, now_s: float) -> int:
        """How often it happened since the last line, this time included; 0: say nothing now."""
        self._kept_back_count += 1
        if now_s < self._next_s:
            return 0
        count, self._kept_back_count, self._next_s = self._kept_back_count, 0, now_s + self._every_s
        return count
