"""A logger for what programs of a moment share with services: structlog is loaded when the first line is logged, for most commands never."""

from collections.abc import Callable
from typing import Any, Final


class LazyLogger:
    """What `structlog.get_logger()` gives, once it is needed."""

    def __init__(self) -> None:
        self.prepare: Callable[[], None] | None = None
        """What is to be done before the first line, where nobody has configured the log yet."""
        self.only_errors = False
        """A program of a moment says what went wrong by its answer: lines below `error` are dropped, and nothing is loaded for them."""

    def __getattr__(self, name: str) -> Any:
        """Find a method: `info`, `warning` and so on."""
        if self.only_errors and name in BELOW_ERROR:
            return dropped
        import structlog

        if self.prepare is not None:
            prepare, self.prepare = self.prepare, None
            prepare()
        return getattr(structlog.get_logger(), name)


def dropped(*_said: object, **_fields: object) -> None:
    """Log nothing."""


BELOW_ERROR: Final = frozenset(("debug", "info", "warning"))
log: Final = LazyLogger()
