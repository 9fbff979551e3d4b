"""Which options ask for a graphics card."""

import pytest

from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.services.scheduler.task_life.graphics import asks_for_gpu, listed

SIFT = OptionValue("feature-type", "sift")


@pytest.mark.parametrize(
    ("words", "options", "asks"),
    [
        pytest.param("", [SIFT], False, id="nobody asks"),
        pytest.param("feature-type=sift", [SIFT], True, id="a value"),
        pytest.param("feature-type=sift", [OptionValue("feature-type", "orb")], False, id="another value"),
        pytest.param("feature-type", [OptionValue("feature-type", "orb")], True, id="any value"),
        pytest.param("use-3dmesh", [OptionValue("use-3dmesh", True)], True, id="a switch"),
        pytest.param("use-3dmesh", [OptionValue("use-3dmesh", False)], False, id="a switch that is off"),
        pytest.param("use-3dmesh=true", [OptionValue("use-3dmesh", True)], True, id="a switch as it is written"),
        pytest.param("feature-type=sift", [SIFT, OptionValue("no-gpu", True)], False, id="who wants none"),
        pytest.param("feature-type=sift", [SIFT, OptionValue("no-gpu", False)], True, id="no-gpu is off"),
        pytest.param(" a = , feature-type=sift ,", [SIFT], True, id="blanks"),
        pytest.param("feature-type=sift", [], False, id="no options"),
    ],
)
def test_an_option_of_the_list_asks_for_one(words: str, options: list[OptionValue], asks: bool):
    assert asks_for_gpu(options, listed(words)) is asks
