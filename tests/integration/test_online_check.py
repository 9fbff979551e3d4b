"""What a file names, tried at the APIs of the clouds."""

import json
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.machinesim.cloud_api_testing import TOKEN, serving
from clusterodm.services.autoscaler.config.core.file import parse
from clusterodm.services.autoscaler.providers.adapters.online_check import OnlineCheck
from clusterodm.services.autoscaler.providers.adapters.selection import api_provider
from clusterodm.services.autoscaler.providers.core.catalogue import FileFindings
from tests.asr_files import DIGITALOCEAN, HETZNER, OUTSIDE, S3, SCALEWAY

GOOD: dict[str, dict[str, Any]] = {
    "digitalocean": {
        **DIGITALOCEAN,
        "accessToken": TOKEN,
        "region": ["nyc3", "ams3"],
        "image": "ubuntu-24-04-x64",
        "imageSizeMapping": [{"maxImages": 40, "slug": "s-4vcpu-8gb"}],
    },
    "hetzner": {
        **HETZNER,
        "apiToken": TOKEN,
        "location": ["fsn1", "nbg1"],
        "image": "ubuntu-24.04",
        "imageSizeMapping": [{"maxImages": 5, "slug": "cx33"}],
    },
    "scaleway": {
        **SCALEWAY,
        "secretToken": TOKEN,
        "image": "ubuntu-noble",
        "imageSizeMapping": [{"maxImages": 5, "slug": "GP1-XS"}],
    },
    "libcloud": {
        "provider": "libcloud",
        "driver": "vultr",
        "keys": {"key": TOKEN},
        "image": "Ubuntu 24.04 LTS x64",
        "region": "fra",
        "s3": S3,
        "imageSizeMapping": [{"maxImages": 5, "slug": "vc2-4c-8gb"}],
    },
}
CLOUDS = {"libcloud": "vultr"}
PLACES = {"hetzner": "location"}
TWO_SIZES = [{"maxImages": 5, "slug": "one-wrong"}, {"maxImages": 9, "slug": "another-wrong"}]


async def findings(folder: Path, url: str, content: dict[str, Any]) -> FileFindings:
    found = parse(json.dumps(content | {"endpoint": url}), OUTSIDE)
    async with api_provider(found, {}, folder) as provider:
        return (await OnlineCheck(provider, found).once()).findings


@pytest.mark.parametrize("provider", GOOD)
async def test_what_the_cloud_does_not_have_is_said_and_ends_the_start(provider: str, tmp_path: Path):
    good = GOOD[provider]
    async with serving(CLOUDS.get(provider, provider)) as served:
        assert await findings(tmp_path, served.url, good) == FileFindings()
        wrong_sizes = await findings(tmp_path, served.url, good | {"imageSizeMapping": TWO_SIZES})
        assert wrong_sizes.mistakes == (
            f"{provider}: there is no size 'one-wrong'",
            f"{provider}: there is no size 'another-wrong'",
        )
        assert wrong_sizes.hopeless
        for change in ({PLACES.get(provider, "region"): "xx9"}, {"image": "debian-3"}):
            wrong = await findings(tmp_path, served.url, good | change)
            assert wrong.hopeless
            assert [str(next(iter(change.values()))) in mistake for mistake in wrong.mistakes] == [True]


async def test_a_file_that_is_right_in_part_is_of_use(tmp_path: Path):
    sizes = [{"maxImages": 5, "slug": "cx33"}, {"maxImages": 9, "slug": "cx34"}]
    content = GOOD["hetzner"] | {"location": ["fsn1", "mars1"], "imageSizeMapping": sizes}
    async with serving("hetzner") as served:
        found = await findings(tmp_path, served.url, content)
    assert found.mistakes == ("hetzner: there is no region 'mars1'", "hetzner: there is no size 'cx34'")
    assert not found.hopeless


async def test_what_was_retired_ends_no_start(tmp_path: Path):
    content = GOOD["hetzner"] | {"image": "ubuntu-16.04", "imageSizeMapping": [{"maxImages": 5, "slug": "cx51"}]}
    async with serving("hetzner") as served:
        found = await findings(tmp_path, served.url, content)
    assert found.mistakes == ("hetzner: there is no size 'cx51'", "hetzner: there is no image 'ubuntu-16.04'")
    assert not found.hopeless


async def test_the_end_of_a_size_is_announced(tmp_path: Path):
    content = GOOD["hetzner"] | {"imageSizeMapping": [{"maxImages": 5, "slug": "cx22"}]}
    async with serving("hetzner") as served:
        found = await findings(tmp_path, served.url, content)
    assert found.mistakes == ("hetzner: 'cx22' will not be had after 2026-12-31",)
    assert not found.hopeless
