"""What a node says of a task's options, kept only where it differs from what was asked for. Pure.

A NodeODM repeats the options of its task with each answer: those that it was sent, in the types and the order of its own list, its limits worked
in, and some that it adds by itself (`max-concurrency`, `pc-ept`, `cog`, `gltf`). The task's record has the first already. So
`differences` keeps what the node has changed or added, and which options it lacks, and `chosen` puts both together again.

Values are compared as JavaScript writes them (16.0 is 16); 16 and "16", true and "true" differ. The order is that of the task, and
what was added comes last, as it does on a node.
"""

from collections.abc import Sequence

import msgspec

from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import LastKnown, Task


def differences(known: LastKnown, asked: Sequence[OptionValue]) -> LastKnown:
    """Keep of what a node says of the options only what was not asked for in just this way."""
    if not known.options:
        return known
    said = {option.name: written(option) for option in known.options}
    before = {option.name: written(option) for option in asked}
    return msgspec.structs.replace(
        known,
        options=(),
        options_changed=tuple(option for name, option in said.items() if not same(before.get(name), option)),
        options_lacking=tuple(name for name in before if name not in said),
    )


def chosen(task: Task) -> tuple[OptionValue, ...]:
    """Say with which options a task runs or ran; what its node said of them counts, where it is known."""
    known = task.known
    if known is not None and known.options:
        return known.options  # all of them: an observation, or a record of an earlier version
    changed = {option.name: option for option in known.options_changed} if known else {}
    lacking = frozenset(known.options_lacking if known else ())
    asked = [written(option) for option in task.options if option.name not in lacking]
    names = {option.name for option in asked}
    return (
        *(changed.get(option.name, option) for option in asked),
        *(option for name, option in changed.items() if name not in names),
    )


def written(option: OptionValue) -> OptionValue:
    """Write a value as JavaScript does: a whole number has no fraction."""
    value = option.value
    return OptionValue(option.name, int(value)) if isinstance(value, float) and value.is_integer() else option


def same(one: OptionValue | None, other: OptionValue) -> bool:
    """Whether both have the same value of the same type; Python takes True for 1."""
    return one is not None and one == other and isinstance(one.value, bool) is isinstance(other.value, bool)
