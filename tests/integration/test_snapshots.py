"""Snapshots at DigitalOcean and Hetzner, as their APIs do it; and the word."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from clusterodm.deploy.cli import main
from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.machinesim.cloud_api_testing import TOKEN, Served, serving
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, ProviderMachine, Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.digitalocean import DigitalOceanVendor
from clusterodm.services.autoscaler.providers.adapters.hetzner import HetznerVendor
from clusterodm.services.autoscaler.providers.adapters.snapshots import PollPolicy
from clusterodm.services.autoscaler.providers.core.snapshots import OURS
from clusterodm.services.autoscaler.providers.handlers import Snapshots
from tests.asr_files import DIGITALOCEAN, SCALEWAY

NAME = "clusterodm-nodeodm"
POLL_POLICY = PollPolicy(poll_s=0.01, off_s=0.2, snapshot_s=60.0)
CLOUDS: dict[str, tuple[Any, str, str, str]] = {
    "digitalocean": (DigitalOceanVendor, "accessToken", "ams3", "s-1vcpu-1gb"),
    "hetzner": (HetznerVendor, "apiToken", "fsn1", "cx23"),
}
ORDERED = 0


class Stage:
    """A cloud in this process, and what makes snapshots there. Every machine says that it is ready."""

    def __init__(
        self, kind: str, served: Served, vendor: Any, provider: BootedProvider, poll_policy: PollPolicy
    ) -> None:
        self.kind, self.served, self.provider = kind, served, provider
        self.said: list[str] = []
        self.told_as = "ready"
        self.store = vendor.snapshots(poll_policy)
        self.snapshots = Snapshots(
            provider=provider, store=self.store, probe=self, clock=SystemClock(), say=self.said.append, sleep=nap
        )

    async def told(self, machine: ProviderMachine) -> str:
        assert machine.address
        return self.told_as

    async def create(self, name: str = NAME, keep_count: int = 1) -> Any:
        global ORDERED  # noqa: PLW0603 each machine has a name of its own
        ORDERED += 1
        _, _, region, slug = CLOUDS[self.kind]
        launch = Launch(image="odm/node", token=Secret(""), snapshot_key=Secret("k3y"))
        order = Order(
            name=MachineId(f"clusterodm-snapshot-{ORDERED}"),
            offer=Offer(size=Size(slug=slug, max_images=5), region=region),
            launch=launch,
        )
        return await self.snapshots.create(order, name, keep_count)

    @property
    def here(self) -> list[str]:
        return [each.name for each in self.served.cloud.here()]

    async def listed(self) -> list[tuple[str, bool]]:
        return [(each.name, each.available) for each in await self.store.starting(OURS)]


async def nap(_seconds: float) -> None:
    """Wait for nothing."""


async def listens(_address: str, _port: int) -> bool:
    return True


@asynccontextmanager
async def staged(kind: str, poll_policy: PollPolicy = POLL_POLICY) -> AsyncIterator[Stage]:
    maker, key, _, _ = CLOUDS[kind]
    async with serving(kind) as served:
        vendor = maker(CloudSettings(endpoint=served.url, keys={key: Secret(TOKEN)}, image="ubuntu-24.04"))
        made = BootedProvider(vendor, poll_s=0.01, removal_wait_s=5, recheck_s=0.01, listens=listens)
        async with made as provider:
            yield Stage(kind, served, vendor, provider, poll_policy)


@pytest.mark.parametrize("kind", CLOUDS)
async def test_a_snapshot_is_made_listed_used_and_replaced(kind: str):
    maker, key, region, slug = CLOUDS[kind]
    async with staged(kind) as stage:
        first, second = await stage.create(), await stage.create()
        assert (stage.here, await stage.listed()) == ([], [(NAME, True)])
        assert first.ref != second.ref
        assert f"deleted the older {first.ref}" in stage.said
        await stage.snapshots.show()
        assert "2.5 GB, about 0." in stage.said[-1]
        cloud = CloudSettings(endpoint=stage.served.url, keys={key: Secret(TOKEN)}, image=NAME, snapshot=True)
        async with BootedProvider(maker(cloud), poll_s=0.01, recheck_s=0.01) as provider:
            await provider.check()
            launch = Launch(image="odm/node", token=Secret("t"))
            offer = Offer(size=Size(slug=slug, max_images=5), region=region)
            await provider.create(Order(name=MachineId("clusterodm-c1-5-a"), offer=offer, launch=launch))
        assert [each.image for each in stage.served.cloud.here()] == [second.ref]


@pytest.mark.parametrize("kind", CLOUDS)
async def test_a_machine_that_does_not_shut_down_loses_its_power(kind: str):
    async with staged(kind) as stage:
        stage.served.kind.snapshots.deaf = True
        await stage.create()
        assert (stage.here, await stage.listed()) == ([], [(NAME, True)])


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("how", ["fails", "takes too long", "is refused", "loses its answer", "image"])
async def test_nothing_is_left_of_a_snapshot_that_fails_half_way(kind: str, how: str):
    poll_policy = PollPolicy(poll_s=0.01, off_s=0.2, snapshot_s=0.02) if how == "takes too long" else POLL_POLICY
    async with staged(kind, poll_policy) as stage:
        book = stage.served.kind.snapshots
        match how:
            case "fails":
                book.fails = True
            case "takes too long":
                book.looks_count, book.fails = 10, True
            case "image":
                stage.told_as = "no such manifest"
            case _:
                stage.served.cloud.fail("act", {"is refused": "limit", "loses its answer": "lost"}[how])
        with pytest.raises(ProviderFailed):
            await stage.create()
        assert stage.here == []
        assert [name for name, available in await stage.listed() if not available] == []


async def test_a_snapshot_whose_answer_was_lost_is_told_and_the_next_one_replaces_it():
    async with staged("hetzner") as stage:
        take = stage.store.take

        async def unheard(ref: str, name: str) -> Any:
            await take(ref, name)
            raise ProviderFailed("hetzner: the answer broke off")

        stage.store.take = unheard
        with pytest.raises(ProviderFailed, match="broke off"):
            await stage.create()
        assert (stage.here, await stage.listed()) == ([], [(NAME, True)])
        assert "was made all the same" in stage.said[-1]
        stage.store.take = take
        await stage.create()
        assert await stage.listed() == [(NAME, True)]


async def test_an_answer_that_is_late_is_asked_for_again():
    async with staged("hetzner") as stage:
        stage.served.cloud.fail("look", "error", 2)
        await stage.create()
        assert await stage.listed() == [(NAME, True)]


@pytest.mark.parametrize(
    ("content", "flags", "said"),
    [
        pytest.param(SCALEWAY, [], "scaleway has no snapshots here; digitalocean, hetzner have", id="another cloud"),
        pytest.param(DIGITALOCEAN, ["--name=mine"], "--name begins with 'clusterodm-'", id="a name that is not ours"),
        pytest.param(DIGITALOCEAN, ["--keep=0"], "--keep is at least 1", id="none is to stay"),
        pytest.param({}, [], "names no provider", id="a mistake in the file"),
        pytest.param(DIGITALOCEAN, ["--provider=x"], "no provider 'x', it has digitalocean", id="not in the file"),
    ],
)
def test_what_cannot_be_done_is_a_line(
    content: dict[str, Any], flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "asr.json"
    path.write_text(json.dumps(content))
    assert main(["asr", "snapshot", str(path), *flags]) == 2
    assert said in capsys.readouterr().err


def test_a_cloud_that_cannot_be_reached_is_a_line_and_another_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "asr.json"
    path.write_text(json.dumps(DIGITALOCEAN | {"endpoint": "http://127.0.0.1:9"}))
    assert main(["asr", "snapshot", str(path), "--list"]) == 1
    assert "digitalocean: GET /v2/snapshots: no connection" in capsys.readouterr().err
