"""What becomes of the bill when a lease is over: the page, the notes, and the token for it."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.machinesim.cloud_api_testing import serving
from clusterodm.services.autoscaler.config.core.file import read
from clusterodm.services.autoscaler.orders import Launch, Offer, Order
from clusterodm.services.autoscaler.providers.adapters.digitalocean import droplet
from clusterodm.services.autoscaler.providers.adapters.kinds import OURS
from clusterodm.services.autoscaler.providers.core.libcloud_settings import DRIVERS, NO_BOOT
from tests.asr_files import AWS, DIGITALOCEAN, HETZNER, OUTSIDE, SCALEWAY

PAGE = (Path(__file__).parents[4] / "docs" / "autoscaler.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("| provider | a machine that has turned itself off |") :].partition("\n\n")[0].splitlines()
LEASED = {"leaseTime": 900, "mode": "api"}

OPENSTACK: dict[str, Any] = {
    "provider": "libcloud",
    "driver": "openstack",
    "image": "Ubuntu 24.04",
    "imageSizeMapping": [{"maxImages": 5, "slug": "b3-8"}],
    "keepResults": 0,
    "leaseTime": 900,
    "leaseCredential": {"id": "credential-1", "secret": "simulated-credential"},
}


def notes(content: dict[str, Any]) -> list[str]:
    return [note for note in read(content, OUTSIDE).notes if note.startswith("leaseTime")]


@pytest.mark.parametrize("provider", [name for name in OURS if name != "libcloud"])
def test_the_page_has_a_row_for_each_provider(provider: str):
    assert [line for line in TABLE if line.startswith(f"| `{provider}`")]


@pytest.mark.parametrize("driver", sorted(set(DRIVERS) - NO_BOOT))
def test_the_page_has_a_row_for_each_driver_of_libcloud(driver: str):
    itself = "with `leaseCredential`" if driver == "openstack" else "no"
    assert f"| `libcloud`, `{driver}` | {DRIVERS[driver].turned_off} | {itself} |" in TABLE


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(DIGITALOCEAN | LEASED, ["with leaseToken it deletes itself"], id="digitalocean"),
        pytest.param(DIGITALOCEAN | LEASED | {"leaseToken": "deletes"}, [], id="digitalocean with a token for it"),
        pytest.param(HETZNER | LEASED, ["no token of that cloud can only delete"], id="hetzner"),
        pytest.param(SCALEWAY | LEASED, ["no key of that cloud can only delete"], id="scaleway"),
        pytest.param(AWS | LEASED, [], id="aws"),
        pytest.param(AWS | {"leaseTime": 900}, ["has no effect there"], id="docker-machine"),
        pytest.param(DIGITALOCEAN | {"mode": "api"}, [], id="no lease"),
        pytest.param(
            OPENSTACK | {"leaseCredential": None}, ["at openstack a machine that has turned itself off"], id="libcloud"
        ),
        pytest.param(OPENSTACK, [], id="openstack with a credential for it"),
    ],
)
def test_a_lease_that_does_not_end_the_bill_is_noted(content: dict[str, Any], said: list[str]):
    found = notes(content)
    assert [words in note for words, note in zip(said, found, strict=True)] == [True] * len(said)


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        pytest.param({"leaseToken": "deletes"}, "leaseToken: is of no use without leaseTime", id="without a lease"),
        pytest.param(
            LEASED | {"leaseToken": DIGITALOCEAN["accessToken"]},
            "leaseToken: is the same as accessToken: machines are given one that can only delete droplets",
            id="the token that rents",
        ),
    ],
)
def test_a_token_that_would_do_harm_or_nothing_is_refused(change: dict[str, Any], mistake: str):
    with pytest.raises(Refused) as caught:
        read(DIGITALOCEAN | change, OUTSIDE)
    assert caught.value.message.startswith(mistake)


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        pytest.param({"driver": "vultr"}, "leaseCredential: the driver 'vultr' has none", id="another driver"),
        pytest.param({"leaseTime": None}, "leaseCredential: is of no use without leaseTime", id="without a lease"),
        pytest.param({"leaseCredential": {"id": "x"}}, "leaseCredential.secret: is missing", id="half of it"),
    ],
)
def test_a_credential_that_would_be_of_no_use_is_refused(change: dict[str, Any], mistake: str):
    with pytest.raises(Refused) as caught:
        read(OPENSTACK | change, OUTSIDE)
    assert mistake in caught.value.message


async def test_a_server_deletes_itself_with_a_credential_that_can_do_nothing_else(tmp_path: Path):
    async with serving("openstack") as served:
        machine = served.cloud.machines.create("4d2f0c1e", "clusterodm-c1-5-a")
        own = read(OPENSTACK | {"endpoint": f"{served.url}/v3"}, OUTSIDE).own
        assert "simulated-credential" not in repr(own)
        assert {"simulated-credential", "credential-1"} <= {each.reveal() for each in own.secrets}
        (tmp_path / "key").write_text(own.deletion.key.reveal())
        (tmp_path / "meta_data.json").write_text(json.dumps({"uuid": machine.number}))
        places = {
            "CLUSTERODM_LEASE_TOKEN": str(tmp_path / "key"),
            "CLUSTERODM_METADATA": f"file://{tmp_path}/meta_data.json",
        }
        words = ["sh", "-c", f"{own.deletion.script}delete_me"]
        ran = await asyncio.create_subprocess_exec(*words, env={"PATH": os.environ["PATH"], **places})
        assert await asyncio.wait_for(ran.wait(), 30) == 0
        assert list(served.cloud.here()) == []
        again = await asyncio.create_subprocess_exec(
            *words, env={"PATH": os.environ["PATH"], **places}, stderr=asyncio.subprocess.DEVNULL
        )
        assert (
            await asyncio.wait_for(again.wait(), 30) != 0
        )  # it is gone: not taken for done, and tried no more than so often


def test_a_droplet_is_given_the_token_that_deletes_and_no_other():
    found = read(DIGITALOCEAN | LEASED | {"leaseToken": "only-deletes"}, OUTSIDE)
    launch = Launch(image="odm", token=Secret("node"), lease_url=Secret("https://c/lease?token=x"), lease_s=900)
    order = Order(name=MachineId("m"), offer=Offer(size=found.limits.sizes[0], region="nyc3"), launch=launch)
    body = str(droplet(order, found.cloud, "ubuntu-24-04-x64", "nyc3"))
    assert "only-deletes" in body
    assert "api.digitalocean.com/v2/droplets" in body
    assert DIGITALOCEAN["accessToken"] not in body
    assert "only-deletes" in [secret.reveal() for secret in found.secrets]
