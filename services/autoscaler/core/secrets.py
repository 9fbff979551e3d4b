"""Secrets as values that do not show themselves: in a repr, a log or an error they are `***`.

`reveal()` is called at the very edge only: where a request is signed, an environment is made, a script is piped.
"""

from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "***"
SHORTEST: Final = 4
"""Shorter texts are not searched for: they would blank half of every line."""


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


NO_SECRET: Final = Secret("")


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """Replace every secret in a text, the longest first."""
    for found in sorted({secret.reveal() for secret in secrets}, key=len, reverse=True):
        if len(found) >= SHORTEST:
            text = text.replace(found, HIDDEN)
    return text
