"""When a task should begin and end, and what it should cost: learned, so within bounds."""

from clusterodm.libs.common.model.values import Frozen


class Expected(Frozen, frozen=True, kw_only=True):
    """An estimate: of three figures the middle one is likely, and the outer ones are as far apart as it takes for at least eight of ten to lie between them.

    How many of the last ones did is said with it. None: not known.
    """

    start_at_ms: tuple[int, int, int] | None = None
    """When it gets a slot; None: it has one, or nobody knows."""
    end_at_ms: tuple[int, int, int] | None = None
    """When its result should be there."""
    cost: tuple[float, float, float] | None = None
    """Of its time on a rented machine, in the currency of the autoscaler's configuration; None: it runs on no such machine."""
    told_at_ms: int = 0
    """When this was worked out."""
    start_held_percent: int | None = None
    """How many of the last hundred starts were between what had been told at first; None: fewer than twenty are known."""
    end_held_percent: int | None = None
    """The same of ends: of those that were told to waiting tasks, or to tasks as they began, as this one is."""
