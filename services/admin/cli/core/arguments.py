"""What the table of words is made of: nouns, verbs and their arguments."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Argument(NamedTuple):
    """One argument of a word, or a flag where its name begins with a dash."""

    name: str
    about: str = ""
    reads: str = "text"
    """How its text is read: a function of core/reading.py."""
    short: str = ""
    optional: bool = False
    several: bool = False
    switch: bool = False
    """A flag without a value."""
    otherwise: Any = None
    choices: Sequence[str] = ()
    shown: str = ""
    """What its value is called in the help."""
    completes: str = ""
    """What a shell offers: `node`, `task`, `machine` (asked of the cluster), `file`."""
    offers: Sequence[str] = ()
    """Words that a shell offers where others are right, too."""

    @property
    def is_flag(self) -> bool:
        """Whether it is given by name."""
        return self.name.startswith("-")


class Verb(NamedTuple):
    """One thing that can be done."""

    name: str
    about: str
    arguments: Sequence[Argument] = ()
    examples: Sequence[tuple[str, str]] = ()
    """What follows `clusterodm`, and what it does."""


class Noun(NamedTuple):
    """What verbs are about. One without verbs is a verb itself: its only verb has no name."""

    name: str
    about: str
    verbs: Sequence[Verb]
    note: str = ""
