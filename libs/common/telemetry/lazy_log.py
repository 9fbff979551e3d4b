"""A logger for what programs of a moment share with services: structlog is loaded when the first line is logged, for most commands never."""

from collections.abc import Callable
from typing import Any, Final


class LazyLogger:
    """What `structlog.get_logger()` gives, once it is needed."""

    def __init__(self) -> None:
        self.prepare: Callable[[], None] | None = None
        """What is to be done before the first line, where nobody has configured the log yet."""

    def __repr__(self) -> str:
        """Show that it is one."""
        return "LazyLogger()"

    def __getattr__(self, name: str) -> Any:
        """Find a method: `info`, `warning` and so on."""
        import structlog

        if self.prepare is not None:
            prepare, self.prepare = self.prepare, None
            prepare()
        return getattr(structlog.get_logger(), name)


log: Final = LazyLogger()
