"""What the start tries at the providers of a file, and what ends it."""

import pytest
import structlog.testing

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.settings.settings import parse
from clusterodm.libs.machinesim.cloud import Cloud
from clusterodm.services.autoscaler.config.core.configuration import Configuration, ScalingLimits
from clusterodm.services.autoscaler.main import checked
from clusterodm.services.autoscaler.orders import ProviderMachine
from clusterodm.services.autoscaler.settings import AutoscalerSettings


class Answering(Cloud):
    """A provider that can be had, or says why not."""

    def __init__(self, refusal: str) -> None:
        super().__init__(ProviderMachine)
        self.refusal = refusal

    async def check(self) -> None:
        if self.refusal:
            raise Refused(self.refusal)


async def tried(**refusals: str) -> list[str]:
    """Try providers by their names; those of which it is said that they are not to be had."""
    parts = {name: Configuration(provider="hetzner", mode="api", limits=ScalingLimits(sizes=())) for name in refusals}
    with structlog.testing.capture_logs() as lines:
        await checked(
            parts,
            {name: Answering(words) for name, words in refusals.items()},
            parse(AutoscalerSettings, [], "autoscaler"),
        )
    return [f"{line['provider']}: {line['reason']}" for line in lines if line["event"] == "provider.not_to_be_had"]


async def test_a_file_whose_only_provider_cannot_be_had_ends_the_start():
    with pytest.raises(Refused, match="wrong key"):
        await tried(one="wrong key")


@pytest.mark.parametrize("first", [True, False])
async def test_one_of_several_providers_that_cannot_be_had_is_said_and_ends_nothing(first: bool):
    names = ("bad", "good") if first else ("good", "bad")
    assert await tried(**{name: "wrong key" if name == "bad" else "" for name in names}) == ["bad: wrong key"]


async def test_where_none_of_several_providers_can_be_had_the_start_ends_with_a_line_each():
    with pytest.raises(Refused, match=r"^wrong key\nno such region$"):
        await tried(one="wrong key", two="no such region")
