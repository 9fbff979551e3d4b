"""Whether a creation may have left something whose provider is out of reach: not where nothing of it can have been sent."""

from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.digitalocean import DigitalOceanVendor
from clusterodm.services.autoscaler.providers.adapters.docker_engine import DockerEngineVendor
from clusterodm.services.autoscaler.providers.adapters.hetzner import HetznerVendor
from clusterodm.services.autoscaler.providers.adapters.scaleway import ScalewayVendor
from clusterodm.services.autoscaler.providers.ports import Vendor

CLOUD: Final = CloudSettings(
    keys={
        name: Secret("k")
        for name in ("accessToken", "apiToken", "organization", "accessKey", "secretKey", "secretToken")
    },
    image="ubuntu",
)
ENGINE: Final = CloudSettings(endpoint="http://engine")
Made = Callable[[httpx.MockTransport], Vendor]
VENDORS: Final = [
    pytest.param(lambda way: DigitalOceanVendor(CLOUD, transport=way), id="digitalocean"),
    pytest.param(lambda way: HetznerVendor(CLOUD, transport=way), id="hetzner"),
    pytest.param(lambda way: ScalewayVendor(CLOUD, ("fr-par-1",), transport=way), id="scaleway"),
    pytest.param(lambda way: DockerEngineVendor(ENGINE, {}, transport=way), id="docker"),
]
NEVER: Final = Trouble.RETRYABLE
PERHAPS: Final = Trouble.UNKNOWN_OUTCOME


def order(*, asked_before: bool) -> Order:
    return Order(
        name=MachineId("clusterodm-c1-50-abc"),
        offer=Offer(size=Size(slug="s", max_images=50), region="fr-par-1"),
        launch=Launch(image="nodeodm", token=Secret("t")),
        asked_before=asked_before,
    )


async def failure_of(vendor: Vendor, ordered: Order) -> ProviderFailed:
    async with BootedProvider(vendor) as provider:
        with pytest.raises(ProviderFailed) as caught:
            await provider.create(ordered)
    return caught.value


@pytest.mark.parametrize("made", VENDORS)
@pytest.mark.parametrize("failing", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadTimeout, httpx.ReadError])
@pytest.mark.parametrize(("asked_before", "trouble"), [(False, NEVER), (True, PERHAPS)], ids=["first", "again"])
async def test_a_provider_that_is_not_reached_has_created_nothing_unless_it_was_called_before(
    made: Made, failing: type[httpx.TransportError], asked_before: bool, trouble: Trouble
) -> None:
    def out_of_reach(request: httpx.Request) -> httpx.Response:
        raise failing("away", request=request)

    failure = await failure_of(made(httpx.MockTransport(out_of_reach)), order(asked_before=asked_before))
    assert (failure.trouble, failure.leaves) == (trouble, trouble is PERHAPS)


@pytest.mark.parametrize(
    ("failing", "trouble"),
    [
        (httpx.ConnectError, NEVER),
        (httpx.ConnectTimeout, NEVER),
        (httpx.WriteError, PERHAPS),
        (httpx.ReadTimeout, PERHAPS),
        (httpx.RemoteProtocolError, PERHAPS),
    ],
)
async def test_a_creation_that_may_have_been_sent_may_have_been_carried_out(
    failing: type[httpx.TransportError], trouble: Trouble
) -> None:
    def goes_away(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/containers/create":
            raise failing("away", request=request)
        content: Any = [] if request.url.path == "/containers/json" else {}
        return httpx.Response(200, json=content)

    vendor = DockerEngineVendor(ENGINE, {}, transport=httpx.MockTransport(goes_away))
    failure = await failure_of(vendor, order(asked_before=False))
    assert (failure.trouble, failure.leaves) == (trouble, trouble is PERHAPS)
