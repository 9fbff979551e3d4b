"""A table of steps: which state follows which, and nothing else is possible. Pure."""

from typing import TypeVar

Before = TypeVar("Before")
Step = TypeVar("Step")
After = TypeVar("After")


class ImpossibleStep(Exception):
    """The table has no such step from this state."""


class StateTable(dict[tuple[Before, Step], After]):
    """(state, step) -> next state."""

    def after(self, state: Before, step: Step, who: str) -> After:
        """Look a step up; `who` would take it. Raises ImpossibleStep."""
        try:
            return self[state, step]
        except KeyError:
            raise ImpossibleStep(f"{who} cannot {step}") from None
