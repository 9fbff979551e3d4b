"""What single providers do beside the contract: snapshots, regions, spot, slow answers; and a node that really comes up."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.machinesim.cloud_api_machines import Machine
from clusterodm.libs.machinesim.cloud_api_testing import TOKEN, CloudApiProcess, serving
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.digitalocean import DigitalOceanVendor
from clusterodm.services.autoscaler.providers.adapters.docker_engine import DockerEngineVendor
from clusterodm.services.autoscaler.providers.adapters.ec2.client import Ec2Vendor
from clusterodm.services.autoscaler.providers.adapters.hetzner import HetznerVendor
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import Page, RestClient, everything
from clusterodm.services.autoscaler.providers.adapters.scaleway import ScalewayVendor
from tests.cloud_accounts import AWS_SIZE, NAME, NODE_TOKEN, PATIENT_S, PREFIX, WEB, Rental, aws, booted, order, web
from tests.waiting import until

KEYS = {
    "digitalocean": {"accessToken": Secret(TOKEN)},
    "hetzner": {"apiToken": Secret(TOKEN)},
    "scaleway": {"organization": Secret("org-1"), "secretToken": Secret(TOKEN)},
}


def machine_of(rental_machines: list[Machine]) -> Machine:
    assert len(rental_machines) == 1
    return rental_machines[0]


async def test_a_snapshot_goes_by_its_name_and_the_newest_counts():
    async with serving("digitalocean") as served:
        cloud = CloudSettings(endpoint=served.url, keys=KEYS["digitalocean"], image="odm-snapshot", snapshot=True)
        async with booted(DigitalOceanVendor(cloud)) as provider:
            await provider.check()
            await provider.create(order("nyc3", Size(slug="s-1vcpu-1gb", max_images=5)))
        made = machine_of(served.cloud.here())
        assert (made.image, made.region) == ("7102", "nyc3")


async def test_the_region_is_switched_to_one_that_has_the_snapshot():
    async with serving("digitalocean") as served:
        cloud = CloudSettings(endpoint=served.url, keys=KEYS["digitalocean"], image="odm-snapshot", snapshot=True)
        async with booted(DigitalOceanVendor(cloud)) as provider:
            await provider.create(order("fra1", Size(slug="s-1vcpu-1gb", max_images=5)))
        assert machine_of(served.cloud.here()).region == "ams3"


@pytest.mark.parametrize(
    "kind", [pytest.param(DigitalOceanVendor, id="digitalocean"), pytest.param(HetznerVendor, id="hetzner")]
)
async def test_a_snapshot_that_does_not_exist_is_refused_at_the_start(kind: Any):
    name = kind.__name__.removesuffix("Vendor").lower()
    async with serving(name) as served:
        cloud = CloudSettings(endpoint=served.url, keys=KEYS[name], image="nope", snapshot=True)
        async with booted(kind(cloud)) as provider:
            with pytest.raises(Refused, match="no snapshot 'nope'"):
                await provider.check()


async def test_hetzner_finds_its_snapshot_and_its_ssh_key():
    fingerprint = "b7:2f:30:a0:2f:6c:58:6c:21:04:58:61:ba:06:3b:2f"
    async with serving("hetzner") as served:
        cloud = CloudSettings(
            endpoint=served.url,
            keys=KEYS["hetzner"],
            image="odm-snapshot",
            snapshot=True,
            ssh_fingerprint=fingerprint,
        )
        async with booted(HetznerVendor(cloud)) as provider:
            await provider.check()
            await provider.create(order("fsn1", Size(slug="cx21", max_images=50)))
        body = machine_of(served.cloud.here()).extra["body"]
        assert (body["image"], body["ssh_keys"]) == (8102, [2323])


async def test_an_ssh_key_that_hetzner_does_not_have_is_refused_at_the_start():
    async with serving("hetzner") as served:
        cloud = CloudSettings(endpoint=served.url, keys=KEYS["hetzner"], image="ubuntu-24.04", ssh_fingerprint="aa:bb")
        async with booted(HetznerVendor(cloud)) as provider:
            with pytest.raises(Refused, match="aa:bb"):
                await provider.check()


@pytest.mark.parametrize(
    ("image", "used"),
    [
        pytest.param("odm-snapshot", "5f6a0c1e-0d1c-4b2a-9d5c-7d3a2b1c0e9f", id="an own image"),
        pytest.param("ubuntu-xenial", "ubuntu_xenial", id="a public one, as it was called"),
        pytest.param("ubuntu_jammy", "ubuntu_jammy", id="a label"),
    ],
)
async def test_an_image_of_scaleway_goes_by_its_name(image: str, used: str):
    async with serving("scaleway") as served:
        cloud = CloudSettings(endpoint=served.url, keys=KEYS["scaleway"], image=image)
        async with booted(ScalewayVendor(cloud, ("par1",))) as provider:
            await provider.create(order("par1", Size(slug="GP1-XS", max_images=50)))
        assert machine_of(served.cloud.here()).image == used


async def test_of_scaleway_that_has_no_room_when_switching_on_nothing_is_left_once_it_is_destroyed():
    async with web("scaleway", size="PLAY2-NANO") as rental, rental.make() as provider:
        rental.fail("action", "capacity")
        with pytest.raises(ProviderFailed) as caught:
            await provider.create(rental.order)
        assert caught.value.trouble is Trouble.OUT_OF_CAPACITY
        await provider.destroy(NAME, "")
        assert list(rental.present()) == []


async def test_the_trouble_of_a_create_is_told_whatever_becomes_of_what_it_left():
    async with web("scaleway") as rental, rental.make() as provider:
        rental.fail("action", "capacity")
        rental.fail("delete", "error")
        with pytest.raises(ProviderFailed) as caught:
            await provider.create(rental.order)
        assert caught.value.trouble is Trouble.OUT_OF_CAPACITY
        with pytest.raises(ProviderFailed):
            await provider.destroy(NAME, "")
        await provider.destroy(NAME, "")
        assert list(rental.present()) == []


async def test_every_disk_of_scaleway_bears_its_machines_name_and_tags():
    async with web("scaleway", size="PLAY2-NANO") as rental, rental.make() as provider:
        await provider.create(rental.order)
        assert rental.served
        disks = rental.served.kind.disks
        assert [(each["name"], each["tags"]) for each in disks] == [(NAME, ["clusterodm-cluster:c1"])]


async def test_of_a_server_of_scaleway_that_somebody_has_renamed_no_disk_is_left():
    async with web("scaleway", size="PLAY2-NANO") as rental, rental.make() as provider:
        made = await provider.create(rental.order)
        assert rental.served
        machine_of(rental.served.cloud.here()).name = f"{NAME} (keep)"
        await provider.destroy(NAME, made.ref)
        assert list(rental.present()) == []


async def test_a_container_that_cannot_start_is_taken_away_when_it_is_destroyed():
    async with web("docker") as rental, rental.make() as provider:
        rental.fail("start", "limit")
        with pytest.raises(ProviderFailed) as caught:
            await provider.create(rental.order)
        assert caught.value.trouble is Trouble.OUT_OF_CAPACITY
        await provider.destroy(NAME, "")
        assert list(rental.present()) == []


async def test_an_image_that_cannot_be_pulled_is_refused():
    async with (
        serving("docker") as served,
        booted(DockerEngineVendor(CloudSettings(endpoint=served.url), {})) as provider,
    ):
        wanted = order("", Size(slug="any", max_images=5))
        launch = type(wanted.launch)(image="nobody/nothing", token=Secret(NODE_TOKEN))
        with pytest.raises(ProviderFailed, match="nobody/nothing") as caught:
            await provider.create(type(wanted)(name=NAME, offer=wanted.offer, launch=launch))
        assert caught.value.trouble is Trouble.REFUSED


async def test_a_network_that_the_engine_does_not_have_is_refused_at_the_start():
    async with serving("docker") as served:
        for network, refused in (("odm", False), ("nope", True)):
            cloud = CloudSettings(endpoint=served.url, network=network)
            async with booted(DockerEngineVendor(cloud, {})) as provider:
                if refused:
                    with pytest.raises(Refused, match="nope"):
                        await provider.check()
                else:
                    await provider.check()


# --- the wire -------------------------------------------------------------------------------------------------------


async def test_a_list_that_changes_while_it_is_read_is_read_again():
    lists = [["a", "b", "c", "d"], ["b", "c", "d"], ["b", "c", "d"]]
    reads: list[int] = []

    async def page(number: int) -> Page:
        reads.append(number)
        now = lists[min(sum(1 for each in reads if each == number) - 1 + (number > 1), len(lists) - 1)]
        return Page(items=now[(number - 1) * 2 : number * 2], total_count=len(now), last=number * 2 >= len(now))

    assert await everything(page) == ["b", "c", "d"]
    assert reads.count(1) == 2


async def slow_down_then_answer(times: int, retry_after: str) -> tuple[int, list[float]]:
    calls: list[float] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        calls.append(0.0)
        if len(calls) <= times:
            return httpx.Response(429, headers={"Retry-After": retry_after}, json={"message": "slow down"})
        return httpx.Response(200, json={"ok": True})

    way = httpx.MockTransport(answer)
    async with RestClient(
        "somebody", "http://there", judge=lambda _status, _content: (None, ""), transport=way
    ) as rest:
        await rest.get("/x")
    return len(calls), calls


async def test_too_many_requests_are_waited_for_as_the_answer_asks():
    calls_count, _ = await slow_down_then_answer(2, "0.01")
    assert calls_count == 3


async def test_a_wait_that_is_too_long_is_the_callers_business():
    with pytest.raises(ProviderFailed) as caught:
        await slow_down_then_answer(1, "3600")
    assert caught.value.trouble is Trouble.RETRYABLE


async def test_a_provider_that_cannot_be_connected_to_has_done_nothing():
    cloud = CloudSettings(endpoint="http://127.0.0.1:9", keys=KEYS["hetzner"], image="x")
    async with HetznerVendor(cloud) as vendor:
        with pytest.raises(ProviderFailed, match="no connection") as caught:
            await vendor.begin(order("fsn1", Size(slug="cx21", max_images=50)))
    assert caught.value.trouble is Trouble.RETRYABLE


async def test_a_key_that_comes_back_in_an_answer_is_not_told_on():
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"id": "unauthorized", "message": f"bad {request.headers['authorization']}"})

    cloud = CloudSettings(endpoint="http://there", keys=KEYS["digitalocean"])
    async with DigitalOceanVendor(cloud, transport=httpx.MockTransport(answer)) as vendor:
        with pytest.raises(ProviderFailed) as caught:
            await vendor.starting(PREFIX)
    assert TOKEN not in caught.value.message
    assert caught.value.trouble is Trouble.UNAUTHORISED


# --- EC2 ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def spot() -> AsyncIterator[Rental]:
    async with aws(spot=True) as rental:
        yield rental


async def test_a_spot_instance_that_amazon_takes_away_says_so(spot: Rental):
    async with spot.make() as provider:
        made = await provider.create(spot.order)
        assert [each.leaving for each in await provider.list(PREFIX)] == [""]
        number = made.ref.partition("/")[2]
        spot.extra["api"].interrupted[number] = "marked-for-termination"
        (found,) = await provider.list(PREFIX)
        assert "marked-for-termination" in found.leaving
        await provider.destroy(NAME, made.ref)


async def test_a_zone_without_room_is_followed_by_the_next():
    async with aws() as rental, rental.make() as provider:
        rental.fail("create", "capacity", 3)  # as often as boto3 asks one zone
        made = await provider.create(rental.order)
        assert made.name == NAME
        assert rental.created_count() == 1


async def test_disks_and_instances_bear_the_clusters_tags():
    async with aws(tags=("team", "survey")) as rental, rental.make() as provider:
        made = await provider.create(rental.order)
        client = rental.extra["client"]
        number = made.ref.partition("/")[2]
        wanted = {"Name": NAME, "clusterodm-cluster": "c1", "team": "survey"}
        (instance,) = client.describe_instances(InstanceIds=[number])["Reservations"][0]["Instances"]
        disk = [{"Name": "attachment.instance-id", "Values": [number]}]
        (volume,) = client.describe_volumes(Filters=disk)["Volumes"]
        for each in (instance, volume):
            assert {tag["Key"]: tag["Value"] for tag in each["Tags"]} == wanted
        assert volume["Size"] == 100
        await provider.destroy(NAME, "")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        pytest.param({"security_group": "nope"}, "no security group 'nope'", id="security group"),
        pytest.param({"image": "ami-00000000"}, "no image 'ami-00000000'", id="image"),
        pytest.param({"zone": "z"}, "no subnet", id="zone"),
        pytest.param({"subnet": "subnet-0000"}, "no subnet", id="subnet"),
    ],
)
async def test_what_a_region_does_not_have_is_refused_at_the_start(wrong: dict[str, str], words: str):
    async with aws(**wrong) as rental, rental.make() as provider:
        with pytest.raises(Refused, match=words):
            await provider.check()


async def test_an_instance_is_found_in_whatever_region_it_is():
    async with aws() as rental:
        url = rental.extra["api"].url
        configured = CloudSettings(
            endpoint=url,
            keys={"accessKey": Secret("a"), "secretKey": Secret(TOKEN)},
            image="amzn2-ami-hvm-2.0*x86_64-gp2",
            security_group="default",
        )
        async with booted(Ec2Vendor(configured, ("us-west-2", "eu-west-1"))) as provider:
            made = await provider.create(order("eu-west-1", AWS_SIZE))
            assert made.ref.startswith("eu-west-1/")
            assert [each.ref for each in await provider.list(PREFIX)] == [made.ref]
            again = await provider.create(order("us-west-2", AWS_SIZE))
            assert again.ref == made.ref
            await provider.destroy(NAME, made.ref)
            assert list(await provider.list(PREFIX)) == []


# --- a node that comes up -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["digitalocean", "hetzner", "scaleway"])
async def test_a_rented_machine_boots_into_a_node_that_takes_its_token_only(kind: str):
    vendor, cloud, region, size = WEB[kind]
    with CloudApiProcess(kind, nodes=True, boot_s=0.2) as api:
        configured = CloudSettings(endpoint=api.url, **cloud)
        async with BootedProvider(
            vendor(configured, None, PATIENT_S), poll_s=0.1, set_up_wait_s=30, removal_wait_s=10, recheck_s=0.1
        ) as provider:
            wanted = order(region, Size(slug=size, max_images=50))
            up = await provider.set_up(wanted, await provider.create(wanted))
            async with httpx.AsyncClient(base_url=f"http://{up.address}:{up.port}", timeout=10) as node:
                assert (await node.get("/info", params={"token": NODE_TOKEN})).json()["maxImages"] == 50
                assert "error" in (await node.get("/info")).json()
            await provider.destroy(NAME, up.ref)
            assert api.here() == []
            await until(lambda: no_answer(up.address, up.port))


async def no_answer(address: str, port: int) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2) as client:
            await client.get(f"http://{address}:{port}/info")
    except httpx.HTTPError:
        return True
    return False


@pytest.mark.slow
async def test_a_machine_that_never_comes_up_is_given_up_in_time():
    async with serving("hetzner", boot_s=0.0) as served:
        cloud = CloudSettings(endpoint=served.url, keys=KEYS["hetzner"], image="ubuntu-24.04")
        async with BootedProvider(HetznerVendor(cloud), poll_s=0.05, set_up_wait_s=0.5, recheck_s=0.1) as provider:
            wanted = order("fsn1", Size(slug="cx21", max_images=50))
            made = await provider.create(wanted)
            with pytest.raises(ProviderFailed, match="nothing listens at"):
                await provider.set_up(wanted, made)
            served.cloud.machines.delete(served.cloud.here()[0])
            with pytest.raises(ProviderFailed, match="vanished"):
                await provider.set_up(wanted, made)


async def test_what_amazon_has_in_a_region_is_known():
    async with aws() as rental, rental.make() as provider:
        catalogue = await provider.catalogue()
        assert catalogue is not None
        assert catalogue.sizes is not None
        assert catalogue.sizes["t2.medium"] == frozenset({"us-west-2"})
        assert "m99.huge" not in catalogue.sizes
