"""What the file says of machines that are used again is checked, and told in one line."""

from functools import partial
from typing import Any

import pytest

from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.config.core.file import read
from tests.asr_files import DIGITALOCEAN, OUTSIDE, mistakes_in


def check(content: object) -> Configuration:
    return read(content, OUTSIDE)


mistakes = partial(mistakes_in, check)


def sized(**entry: Any) -> dict[str, Any]:
    return DIGITALOCEAN | {"imageSizeMapping": [{"maxImages": 40, "slug": "small", **entry}]}


@pytest.mark.parametrize(
    ("entry", "unit_s", "least_s"),
    [
        pytest.param({}, 1, 0, id="the default"),
        pytest.param({"billing": "second", "billingMinimum": 60}, 1, 60, id="by the second, a minute at least"),
        pytest.param({"billing": "minute"}, 60, 0, id="by the minute"),
        pytest.param({"billing": "hour"}, 3600, 0, id="by the hour"),
    ],
)
def test_a_size_says_how_it_is_billed(entry: dict[str, Any], unit_s: int, least_s: int):
    (size,) = check(sized(**entry)).limits.sizes
    assert (size.billed_unit_s, size.billed_least_s) == (unit_s, least_s)


@pytest.mark.parametrize(
    ("content", "most"),
    [
        pytest.param(sized(), 1, id="nothing of it"),
        pytest.param(sized(billing="hour"), 0, id="billed by the hour"),
        pytest.param(sized(tasksPerMachine=2), 0, id="several at a time"),
        pytest.param(sized() | {"targetWait": 60}, 0, id="a wait"),
        pytest.param(sized(billing="hour") | {"maxTasksPerMachine": 1}, 1, id="one, as the file says"),
    ],
)
def test_machines_are_used_again_where_the_file_says_what_has_no_sense_otherwise(content: dict[str, Any], most: int):
    assert check(content).limits.tasks_per_machine_count == most


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(
            sized() | {"targetWait": 60, "maxTasksPerMachine": 1},
            "targetWait: no machine gets free for a second task (maxTasksPerMachine is 1)",
            id="a wait for nothing",
        ),
        pytest.param(
            sized(tasksPerMachine=4) | {"maxTasksPerMachine": 2},
            "imageSizeMapping: small has 4 tasksPerMachine, and goes after 2 (maxTasksPerMachine)",
            id="more at a time than at all",
        ),
        pytest.param(
            sized(billing="day"),
            "imageSizeMapping[0].billing: is 'day', expected 'second' or 'minute' or 'hour'",
            id="no unit",
        ),
        pytest.param(
            sized(tasksPerMachine=0), "imageSizeMapping[0].tasksPerMachine: is 0, must be at least 1", id="none"
        ),
        pytest.param(sized() | {"createRate": 0}, "createRate: is 0, must be at least 1 (or -1)", id="no machine ever"),
        pytest.param(sized() | {"targetWait": "long"}, "targetWait: must be a whole number", id="no number"),
    ],
)
def test_what_machines_are_used_for_is_checked(content: dict[str, Any], told: str):
    assert mistakes(content) == [told]
