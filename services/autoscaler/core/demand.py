"""What a snapshot of demand means: whether it is news, and in which words it is told."""

from libs.common.messages import DemandChanged


def supersedes(new: DemandChanged, last: DemandChanged | None) -> bool:
    """Whether `new` is to be kept: a snapshot that arrives late or twice is not."""
    return last is None or new.at_ms >= last.at_ms


def differs(new: DemandChanged, last: DemandChanged | None) -> bool:
    """Whether `new` says anything that `last` did not, so that each change is logged once."""
    return last is None or figures(new) != figures(last)


def figures(demand: DemandChanged) -> tuple[int, int, int]:
    """Put demand into the three figures that operators read: waiting, free slots, running."""
    return demand.waiting_count, demand.free_slots_count, demand.running_count
