"""Whether a caller is the machine that it says it is, and whether that machine should go on. Pure.

A machine's secret stands in the addresses that it was given (its webhook, its lease); of the secret only a digest is known
here. A node that belongs to no machine has no secret, and its webhook is a hint for anybody to give.
"""

import hashlib
import hmac
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from clusterodm.libs.common.console import printable_line, without_escapes
from clusterodm.libs.common.model.machines import Machine
from clusterodm.services.proxy.cluster.core import wanted


class CallbackDecision(StrEnum):
    """What comes of a call."""

    WELCOME = "welcome"
    NAMELESS = "no secret was given"
    WRONG = "the secret is not that of the machine"
    OVER = "the machine is to go"


def shows(secret: str, machine: Machine | None) -> bool:
    """Whether a secret is this machine's own, in time that tells nothing about it."""
    digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
    known = machine.webhook_digest if machine else ""
    return hmac.compare_digest(digest, known)


def webhook(secret: str, machine: Machine | None, *, on_machine: bool) -> CallbackDecision:
    """Judge a report about a task; `on_machine`: it ran on one, whose record may be gone by now."""
    if not on_machine:
        return CallbackDecision.WELCOME
    if not secret:
        return CallbackDecision.NAMELESS
    return CallbackDecision.WELCOME if shows(secret, machine) else CallbackDecision.WRONG


LAST_WORDS_LENGTH: Final = 400
LONGEST_NUMBER: Final = 10
"""Digits."""
LAST_LINES_COUNT: Final = 5


def last_words(said: bytes) -> str:
    """Make one printable line of what a machine has said last; it may say anything, and it is shown to people."""
    text = without_escapes(said.decode("utf-8", "replace"))
    lines = ["".join(letter for letter in line if letter.isprintable()).strip() for line in text.splitlines()]
    return " | ".join([line for line in lines if line][-LAST_LINES_COUNT:])[-LAST_WORDS_LENGTH:]


OUTPUT_LINES_COUNT: Final = 400
PART_BYTES: Final = 30_000
"""A machine sends no more of its output at a time (autoscaler/providers/core/cloud_init.py); so much may begin in the middle of a line."""
MOST_LINES_COUNT: Final = 10**9


def boot_lines(said: bytes, first_line: int) -> tuple[int, tuple[str, ...]]:
    """Make printable lines of the last bytes of a boot's output: the number of the first of them, and the lines.

    `first_line`: the number of the line in which the bytes begin, from 0. Where something came before, they may begin in the middle of a line, and a
    secret may be cut in two there, so that line is left out; so is a last line that has not ended yet.
    """
    text = without_escapes(said.decode("utf-8", "replace"))
    lines = text.split("\n")[:-1]
    if first_line > 0 or len(said) >= PART_BYTES:
        first_line, lines = first_line + 1, lines[1:]
    kept = lines[-OUTPUT_LINES_COUNT:]
    return first_line + len(lines) - len(kept), tuple(map(printable_line, kept))


def line_number(text: str) -> int:
    """Read the number of a line; 0 where it is none."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER else 0
    return min(number, MOST_LINES_COUNT)


def reporting(secret: str, machines: Iterable[Machine]) -> Machine | None:
    """Say which machine has this secret; None: none has."""
    return next((machine for machine in machines if secret and shows(secret, machine)), None)


def lease(secret: str, machines: Iterable[Machine]) -> CallbackDecision:
    """Judge a machine's question whether it is still wanted."""
    if not secret:
        return CallbackDecision.NAMELESS
    asking = [machine for machine in machines if shows(secret, machine)]
    if not asking:
        return CallbackDecision.WRONG
    return CallbackDecision.WELCOME if any(wanted(machine) for machine in asking) else CallbackDecision.OVER
