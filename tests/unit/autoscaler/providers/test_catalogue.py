"""What a cloud has, against what a file names."""

from collections.abc import Mapping

import pytest

from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue, CheckOutcome, FileFindings, compared

EVERYWHERE: Mapping[str, frozenset[str]] = {"small": frozenset({"a", "b"}), "large": frozenset({"b"})}
FULL = Catalogue(regions=frozenset({"a", "b"}), sizes=EVERYWHERE)


def limits(*slugs: str, regions: tuple[str, ...] = ("a", "b")) -> ScalingLimits:
    return ScalingLimits(sizes=tuple(Size(slug=slug, max_images=9) for slug in slugs), regions=regions)


@pytest.mark.parametrize(
    ("file", "catalogue", "mistakes", "hopeless"),
    [
        pytest.param(limits("small", "large"), FULL, [], False, id="all is there"),
        pytest.param(limits("small"), Catalogue(), [], False, id="a cloud that does not say"),
        pytest.param(limits("small", regions=("",)), FULL, [], False, id="a file without regions"),
        pytest.param(
            limits("small", "smal"), FULL, ["hetzner: there is no size 'smal'"], False, id="one of two sizes is wrong"
        ),
        pytest.param(
            limits("smal", "smal"), FULL, ["hetzner: there is no size 'smal'"], True, id="every size is wrong"
        ),
        pytest.param(
            limits("small", regions=("a", "x")), FULL, ["hetzner: there is no region 'x'"], False, id="one region is"
        ),
        pytest.param(
            limits("small", regions=("x",)), FULL, ["hetzner: there is no region 'x'"], True, id="every region is"
        ),
        pytest.param(
            limits("large", regions=("a",)),
            FULL,
            ["hetzner: 'large' is not to be had in a now"],
            False,
            id="sold out, or elsewhere",
        ),
        pytest.param(
            limits("small"),
            Catalogue(missing={"debian": "there is no image 'debian'"}),
            ["hetzner: there is no image 'debian'"],
            True,
            id="no image",
        ),
        pytest.param(
            limits("small"),
            Catalogue(missing={"ubuntu-16.04": "there is no image 'ubuntu-16.04'"}),
            ["hetzner: there is no image 'ubuntu-16.04'"],
            False,
            id="an image that was retired ends no start",
        ),
        pytest.param(limits("cx11"), FULL, ["hetzner: there is no size 'cx11'"], False, id="nor does a size"),
        pytest.param(
            limits("small"),
            Catalogue(leaving={"small": "2026-12-31", "other": "2026-01-01"}),
            ["hetzner: 'small' will not be had after 2026-12-31"],
            False,
            id="its end is announced",
        ),
    ],
)
def test_what_is_not_to_be_had_is_a_sentence_each(
    file: ScalingLimits, catalogue: Catalogue, mistakes: list[str], hopeless: bool
):
    found = compared("hetzner", file, catalogue)
    assert (list(found.mistakes), found.hopeless) == (mistakes, hopeless)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (CheckOutcome(), "not tried yet"),
        (CheckOutcome(reason="no connection"), "not tried yet: no connection"),
        (CheckOutcome(answered=True), "accepted"),
        (CheckOutcome(answered=True, findings=FileFindings(mistakes=("a", "b"))), "a; b"),
    ],
)
def test_an_outcome_is_said_in_words(outcome: CheckOutcome, words: str):
    assert str(outcome) == words
