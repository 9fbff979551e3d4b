"""Secrets in what programs and providers say: looked for, and hidden."""

from collections.abc import Iterable
from typing import Final

from libs.common.secret import HIDDEN, Secret

SHORTEST: Final = 4
"""Shorter texts are not searched for: they would blank half of every line."""
NO_SECRET: Final = Secret("")


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """Replace every secret in a text, the longest first."""
    for found in sorted({secret.reveal() for secret in secrets}, key=len, reverse=True):
        if len(found) >= SHORTEST:
            text = text.replace(found, HIDDEN)
    return text
