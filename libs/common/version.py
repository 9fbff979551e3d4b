"""The version of this program, in one place; pyproject.toml reads it from here."""

from typing import Final

VERSION: Final = "2.0.0"
