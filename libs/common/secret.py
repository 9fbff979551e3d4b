"""A secret as a value that does not show itself: in a repr, a log or an error it is `***`. Pure.

`reveal()` is called at the very edge only: where a request is signed, an environment is made, a script is piped.
"""

from typing import Final

HIDDEN: Final = "***"


class Secret:
    """A text that nobody sees by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        """Show that there is one."""
        return f"Secret({HIDDEN if self._text else ''})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Compare the texts."""
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        """Hash the text."""
        return hash(self._text)

    def __bool__(self) -> bool:
        """Whether there is any text."""
        return bool(self._text)

    def reveal(self) -> str:
        """Give the text itself."""
        return self._text
