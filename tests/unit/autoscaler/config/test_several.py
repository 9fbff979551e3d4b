"""A file with several providers: what it means, and every mistake by its key."""

import json
from functools import partial
from typing import Any

import pytest

from clusterodm.services.autoscaler.config.core.configuration import Configuration, described
from clusterodm.services.autoscaler.config.core.file import parse
from tests.asr_files import FILES, OUTSIDE, S3, mistakes_in

SIZES = [{"maxImages": 40, "slug": "small", "pricePerHour": 0.1}]
HETZNER: dict[str, Any] = {
    "provider": "hetzner",
    "mode": "api",
    "apiToken": "t",
    "location": ["fsn1", "hel1"],
    "imageSizeMapping": SIZES,
}
DOCKER: dict[str, Any] = {
    "provider": "docker",
    "machinesLimit": 2,
    "imageSizeMapping": [{"maxImages": 90, "slug": "any", "pricePerHour": 0.0}],
}


def check(*providers: Any, **common: Any) -> Configuration:
    content = {"providers": list(providers), "s3": S3, **common}
    return parse(json.dumps(content), OUTSIDE)


mistakes = partial(mistakes_in, check)


def test_each_provider_has_its_own_and_what_is_common():
    found = check(
        HETZNER,
        {**DOCKER, "name": "cellar", "dockerImage": "mine"},
        machinesLimit=7,
        maxDailyCost=5,
        dockerImage="common",
    )
    assert list(found.parts) == ["hetzner", "cellar"]
    assert [part.provider for part in found.parts.values()] == ["hetzner", "docker"]
    assert [part.node.image for part in found.parts.values()] == ["common", "mine"]
    assert {part.node.s3.bucket for part in found.parts.values() if part.node.s3} == {"results"}
    assert (found.limits.machines_count, found.limits.max_daily_cost) == (7, 5.0)
    assert [(each.name, each.regions, each.machines_count) for each in found.limits.providers] == [
        ("hetzner", ("fsn1", "hel1"), None),
        ("cellar", ("",), 2),
    ]
    assert [(size.slug, size.provider) for size in found.limits.sizes] == [("small", "hetzner"), ("any", "cellar")]


def test_the_check_says_every_provider():
    shown = described(check(HETZNER, DOCKER, order="price")).splitlines()
    assert shown == [
        "no mistakes: 2 providers, the cheapest first; any number of machines in all",
        "hetzner: hetzner by api; small up to 40 images; any number of machines; results in results",
        "docker: docker by api; any up to 90 images; at most 2 machines; results in results",
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_one_provider_means_what_it_meant(name: str):
    found = parse(json.dumps(FILES[name]), OUTSIDE)
    assert (found.several, found.limits.providers, list(found.parts)) == ({}, (), [name])
    assert {size.provider for size in found.limits.sizes} == {""}


@pytest.mark.parametrize(
    ("providers", "common", "line"),
    [
        pytest.param([], {}, "providers: must be a list of objects, one for each provider", id="none"),
        pytest.param(["hetzner"], {}, "providers: must be a list of objects", id="no objects"),
        pytest.param([{"a": 1}], {}, "providers[0].provider: is missing", id="no kind"),
        pytest.param([HETZNER, {**HETZNER}], {}, "providers[1].name: 'hetzner' is another provider's already: give each a name of its own", id="twice"),
        pytest.param([{**HETZNER, "name": "Ä b"}], {}, "providers[0].name: is 'Ä b', expected up to 32 small letters, digits and '-'", id="no name"),
        pytest.param([HETZNER, {**DOCKER, "regoin": "x"}], {}, "providers[1].regoin: unknown key", id="a slip in an entry"),
        pytest.param([{**HETZNER, "maxDailyCost": 3}], {}, "providers[0].maxDailyCost: unknown key", id="what counts for all"),
        pytest.param([HETZNER], {"apiToken": "t"}, "apiToken: unknown key", id="what is one provider's"),
        pytest.param([HETZNER], {"order": "size"}, "order: is 'size', expected 'preference' or 'price'", id="order"),
        pytest.param(
            [{**HETZNER, "imageSizeMapping": [{"maxImages": 4, "slug": "s"}]}],
            {"order": "price"},
            "order: by price needs pricePerHour in every entry (none for s)",
            id="by price without prices",
        ),
    ],
)  # fmt: skip
def test_each_mistake_names_its_key(providers: list[Any], common: dict[str, Any], line: str):
    assert any(found.startswith(line) for found in mistakes(*providers, **common)), mistakes(*providers, **common)


def test_an_unknown_kind_is_told_with_those_that_there_are():
    (line,) = mistakes({"provider": "cloud9", "token": "x"})
    assert line.startswith("providers[0].provider: is 'cloud9', expected one of digitalocean, aws, ")


def test_the_secrets_of_every_provider_are_secrets_of_the_file():
    one, two = {**HETZNER, "apiToken": "first-token"}, {**HETZNER, "name": "two", "apiToken": "second-token"}
    assert {"first-token", "second-token"} <= {secret.reveal() for secret in check(one, two).secrets}
