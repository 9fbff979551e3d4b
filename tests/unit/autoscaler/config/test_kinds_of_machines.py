"""What a file says of spot machines, graphics cards and budgets of owners: what it means, and every mistake by its key."""

import json
from functools import partial
from typing import Any

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.services.autoscaler.config.core.configuration import Configuration, OwnerBudget
from clusterodm.services.autoscaler.config.core.file import parse
from clusterodm.services.autoscaler.config.core.reader import ObjectReader, Outside, SettingsReader
from clusterodm.services.autoscaler.orders import Size
from tests.asr_files import AWS, DIGITALOCEAN, HETZNER, OUTSIDE, S3, SCALEWAY, mistakes_in

STAYS = {"maxImages": 40, "slug": "m5", "storage": 60}
SPOT = {**STAYS, "spot": True, "spotPrice": 0.02}
GCE = {"provider": "libcloud", "driver": "gce", "image": "ubuntu", "s3": S3}
COMMAND = {"provider": "command", "create": "c", "list": "l", "destroy": "d", "s3": S3}
DOCKER = {"provider": "docker", "s3": S3, "imageSizeMapping": [{"maxImages": 5, "slug": "any"}]}
POD = {"cpu": "4", "memory": "16Gi"}


def check(content: dict[str, Any], **more: Any) -> Configuration:
    return parse(json.dumps({**content, **more}), OUTSIDE)


mistakes = partial(mistakes_in, check)


def told(sizes: tuple[Size, ...]) -> list[tuple[str, bool, int]]:
    return [(size.slug, size.spot, size.interruptions_limit_count) for size in sizes]


def test_a_file_of_the_original_has_spot_for_all_sizes_and_no_other_size_to_fall_back_to():
    found = check(AWS)
    assert told(found.limits.sizes) == [("t3a.small", True, 0), ("m5.large", True, 0)]
    assert found.notes == ()


def test_a_spot_size_that_no_other_can_stand_in_for_is_noted():
    found = check(AWS, imageSizeMapping=[{**SPOT, "maxImages": 90}, {**STAYS, "spot": False}])
    assert told(found.limits.sizes) == [("m5", False, 0), ("m5", True, 0)]
    (note,) = found.notes
    assert "no size without spot takes what m5 takes" in note


def test_of_two_sizes_for_as_many_images_the_one_that_costs_less_is_the_first():
    found = check(AWS, spot=False, imageSizeMapping=[STAYS, SPOT])
    assert told(found.limits.sizes) == [("m5", True, 1), ("m5", False, 0)]
    assert found.notes == ()


def test_the_provider_says_it_for_all_sizes_and_an_entry_for_itself():
    found = check(AWS, imageSizeMapping=[{**SPOT, "spot": None}, {**STAYS, "spot": False}], spotInterruptions=3)
    assert told(found.limits.sizes) == [("m5", True, 3), ("m5", False, 0)]


@pytest.mark.parametrize(
    ("lasting", "limit"),
    [
        pytest.param({"maxImages": 40}, 1, id="as many"),
        pytest.param({"maxImages": 90}, 1, id="more"),
        pytest.param({"maxImages": 30}, 0, id="fewer"),
        pytest.param({"maxImages": 40, "maxGigabytes": 1}, 0, id="fewer bytes"),
        pytest.param({"maxImages": 40, "memoryGigabytes": 4}, 0, id="less memory"),
        pytest.param({"maxImages": 40, "tasksPerMachine": 4, "memoryGigabytes": 20}, 0, id="less memory for each"),
    ],
)
def test_a_task_is_kept_off_spot_machines_where_another_size_takes_whatever_they_take(lasting: Any, limit: int):
    spot = {"maxImages": 40, "slug": "s", "spot": True, "maxGigabytes": 9, "memoryGigabytes": 8}
    stays = {"slug": "l", "maxGigabytes": 9, "memoryGigabytes": 8, **lasting}
    found = check(GCE, imageSizeMapping=[spot, stays])
    assert [size.interruptions_limit_count for size in found.limits.sizes if size.spot] == [limit]


def test_the_size_that_stays_may_be_another_providers():
    aws = {key: AWS[key] for key in ("provider", "accessKey", "secretKey", "securityGroup")}
    hetzner = {"provider": "hetzner", "apiToken": "t", "imageSizeMapping": [{"maxImages": 90, "slug": "cx43"}]}
    found = check({"s3": S3, "providers": [{**aws, "imageSizeMapping": [SPOT]}, hetzner]}, spotInterruptions=2)
    assert told(found.limits.sizes) == [("m5", True, 2), ("cx43", False, 0)]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param(DIGITALOCEAN, "digitalocean", id="digitalocean"),
        pytest.param(HETZNER, "hetzner", id="hetzner"),
        pytest.param(SCALEWAY, "scaleway", id="scaleway"),
        pytest.param(DOCKER, "docker", id="docker"),
        pytest.param({**GCE, "driver": "vultr"}, "libcloud", id="a driver of libcloud"),
    ],
)
def test_a_cloud_without_spot_machines_says_so(content: dict[str, Any], name: str):
    sizes = [{"maxImages": 5, "slug": "small", "spot": True}]
    assert f"imageSizeMapping[0].spot: {name} has no spot machines: leave it out" in mistakes(
        content, imageSizeMapping=sizes
    )


@pytest.mark.parametrize("content", [pytest.param(GCE, id="gce"), pytest.param(COMMAND, id="command")])
def test_other_clouds_have_them(content: dict[str, Any]):
    found = check(content, imageSizeMapping=[{"maxImages": 5, "slug": "small", "spot": True}])
    assert found.limits.sizes[0].spot


def test_kubernetes_says_in_its_own_sizes_which_are_spot_and_which_have_a_graphics_card():
    own = {"cheap": {**POD, "spot": "gke"}, "usual": POD, "card": {**POD, "gpu": 1}}
    mapping = [{"maxImages": 40, "slug": slug} for slug in own]
    found = check({"provider": "kubernetes", "s3": S3, "sizes": own, "imageSizeMapping": mapping})
    assert told(found.limits.sizes) == [("cheap", True, 1), ("usual", False, 0), ("card", False, 0)]
    assert [size.gpu for size in found.limits.sizes] == [False, False, True]


def test_interruptions_without_spot_are_a_mistake():
    assert mistakes(HETZNER, spotInterruptions=2) == ["spotInterruptions: no size is rented as a spot machine"]


def test_a_graphics_card_is_said_for_one_size_or_for_all():
    sizes = [{"maxImages": 5, "slug": "cx22"}, {"maxImages": 50, "slug": "gpu", "gpu": True}]
    assert [size.gpu for size in check(HETZNER, imageSizeMapping=sizes).limits.sizes] == [False, True]
    assert [size.gpu for size in check(HETZNER, dockerGpu=True).limits.sizes] == [True, True]
    without = {key: value for key, value in HETZNER.items() if key != "imageSizeMapping"}
    assert all(size.gpu for size in check(without, dockerGpu=True).limits.sizes)


PRICED = [{"maxImages": 5, "slug": "cx22", "pricePerHour": 0.1}]


def test_owners_have_budgets_of_their_own_or_that_of_all_others():
    budgets = {"guest": {"maxHourlyCost": 0.5, "maxDailyCost": 2}, "*": {"maxDailyCost": 5}}
    found = check(HETZNER, imageSizeMapping=PRICED, budgets=budgets).limits
    assert found.budget_of("guest") == OwnerBudget(max_hourly_cost=0.5, max_daily_cost=2)
    assert found.budget_of("survey") == OwnerBudget(max_daily_cost=5)
    assert found.budget_of("") == OwnerBudget()


@pytest.mark.parametrize(
    ("budgets", "mistake"),
    [
        pytest.param({"a": {}}, "budgets.a: limits nothing: give maxHourlyCost or maxDailyCost", id="nothing"),
        pytest.param({"a": 5}, "budgets.a: must be an object", id="a number"),
        pytest.param(
            {"a": {"maxDailyCost": -3}}, "budgets.a.maxDailyCost: is -3, must be at least 0 (or -1)", id="less"
        ),
        pytest.param(
            {"a": {"maxDaily": 3}}, "budgets.a.maxDaily: unknown key (did you mean 'maxDailyCost'?)", id="key"
        ),
    ],
)
def test_a_budget_that_means_nothing_is_a_mistake(budgets: Any, mistake: str):
    assert mistake in mistakes(HETZNER, imageSizeMapping=PRICED, budgets=budgets)


def test_budgets_need_prices():
    (mistake,) = mistakes(HETZNER, budgets={"a": {"maxDailyCost": 3}})
    assert mistake.startswith("imageSizeMapping: a budget needs pricePerHour in every entry")


@pytest.mark.parametrize("says", ["the kind", "its settings", "nobody"])
def test_a_provider_of_ones_own_says_whether_an_image_may_be_a_file(says: str):
    class Settings:
        if says == "its settings":
            any_image = True

    class Kind:
        if says == "the kind":
            any_image = True

        @staticmethod
        def read(_keys: ObjectReader) -> Settings:
            return Settings()

    kinds: dict[str, SettingsReader] = {"mine": Kind()}
    outside = Outside({}, lambda _path: "", lambda _path: True, kinds)
    sizes = [{"maxImages": 5, "slug": "any"}]
    text = json.dumps({"provider": "mine", "s3": S3, "imageSizeMapping": sizes, "dockerImage": "/opt/Node ODM.sif"})
    if says == "nobody":
        with pytest.raises(Refused, match=r"dockerImage: is '/opt/Node ODM\.sif'"):
            parse(text, outside)
    else:
        assert parse(text, outside).node.image == "/opt/Node ODM.sif"
