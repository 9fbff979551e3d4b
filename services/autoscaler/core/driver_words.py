"""What docker-machine and its drivers say, and what it means: whether a machine is there, and what a creation has failed with. Pure."""

import re
from typing import Final

from libs.common.errors import Trouble
from libs.common.model import MachineId

ABSENT: Final = 'Docker machine "{name}" does not exist'
"""Drivers say of other things, too, that they do not exist."""
VANISHED: Final = r"\b404\b|not[ _]?found|could not be found|does ?n.t exist"
"""How drivers say that the provider has no such machine (any more)."""
NO_DRIVER: Final = "plugin binary"
"""What is said when the driver itself is not found: that says nothing about any machine."""
SIGNS: Final = (
    (Trouble.UNAUTHORISED, r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|AuthFailure|unable to authenticate|credentials"),
    (
        Trouble.OUT_OF_CAPACITY,
        r"capacity|quota|limit ?exceeded|droplet limit|resource_unavailable|sold.?out|not available|no.*stock",
    ),
    (Trouble.REFUSED, r"\b422\b|not defined|invalid|unknown|usage|requires|not found"),
)
"""What a driver's last words mean, the first that fits; anything else may work the next time."""


def absent(name: MachineId, text: str) -> bool:
    """Whether docker-machine has no entry of this name."""
    return ABSENT.format(name=name) in text


def vanished(text: str) -> bool:
    """Whether a driver says that the provider has no such machine."""
    return NO_DRIVER not in text and bool(re.search(VANISHED, text, re.IGNORECASE))


def meaning(text: str) -> Trouble:
    """Judge a failed creation by what it said."""
    for trouble, sign in SIGNS:
        if re.search(sign, text, re.IGNORECASE):
            return trouble
    return Trouble.RETRYABLE
