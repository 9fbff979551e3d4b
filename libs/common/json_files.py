"""JSON that an operator wrote: files and variables. What is wrong is said with its line and column, as whoever wrote it needs it.

What comes from other programs is read by `untrusted`.
"""

import json
from typing import Any, Final

DEEPEST: Final = 64
"""Brackets inside brackets: ours need six. Far less than Python's stack takes, wherever the value is walked."""


def read_json(text: str) -> Any:
    """Read a file's text. Raises ValueError."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise too_deep() from None
    level = [content]
    for _ in range(DEEPEST):
        level = [inner for each in level for inner in inside(each)]
        if not level:
            return content
    raise too_deep()


def inside(value: Any) -> list[Any]:
    """List the containers in a container."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in values if isinstance(each, dict | list)]


def too_deep() -> ValueError:
    """Say what is wrong."""
    return ValueError("nested too deeply")
