"""Figures that nodes say of tasks, made such that clients and records can hold them: a node may say anything."""

from typing import Any, Final

MOST_IMAGES_COUNT: Final = 2**31 - 1
"""More than any task has, and what clients count with."""
LONGEST_MS: Final = 2**53 - 1
"""What JavaScript counts with."""


def percent(value: Any) -> float:
    """Make a node's `progress` a number within 0..100; what is no number: 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return max(0, min(100, value)) if is_number else 0


def whole_count(value: Any) -> int | None:
    """Read how many images a node says; None: that is no number of images."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= MOST_IMAGES_COUNT else None


def whole_ms(value: Any) -> int:
    """Make a node's `processingTime`, in ms, the integer that clients need; one that no clock says, or no number: -1."""
    return int(value) if isinstance(value, int | float) and -1 <= value <= LONGEST_MS else -1
