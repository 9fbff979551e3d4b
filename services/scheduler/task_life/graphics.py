"""Which tasks ask for a graphics card, by their options. Pure.

ODM has no option that says so: it uses a card where there is one. So the operator says which options are worth one (`gpu_options`):
`feature-type=sift` is such an option, or any name that stands alone. Who sets `no-gpu` asks for none. Without a list nobody asks.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Task

NO_GPU: Final = "no-gpu"
OFF: Final = (None, False, "", "false")


def listed(text: str) -> frozenset[str]:
    """Read `name` and `name=value`, separated by commas."""
    return frozenset(word.strip() for word in text.split(",") if word.strip())


def asks_for_gpu(options: Sequence[OptionValue], words: frozenset[str]) -> bool:
    """Whether options ask for a graphics card; a name alone stands for every value but off."""
    chosen = {option.name: option.value for option in options}
    if not words or chosen.get(NO_GPU) not in OFF:
        return False
    return any(written(option) in words or (option.name in words and option.value not in OFF) for option in options)


def written(option: OptionValue) -> str:
    """Write an option as the list has it."""
    value = str(option.value).lower() if isinstance(option.value, bool) else option.value
    return f"{option.name}={value}"


def with_demand(task: Task, words: frozenset[str]) -> Task:
    """Note in a task whether it asks for one."""
    return msgspec.structs.replace(task, gpu=asks_for_gpu(task.options, words))
