"""The docker-machine provider against a stand-in that is as strict as the real program."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog.testing

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.machinesim.testing import DockerMachineSim
from clusterodm.services.autoscaler.boot_lines import BootLines
from clusterodm.services.autoscaler.config.core.file import read
from clusterodm.services.autoscaler.orders import DockerRegistry, Launch, Offer, Order
from clusterodm.services.autoscaler.providers.adapters.docker_machine.client import DockerMachineProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.driver import Resolved
from tests.asr_files import AWS, DIGITALOCEAN, FILES, HETZNER, OUTSIDE, SECRETS
from tests.waiting import until

TOKEN = "made-up-node-token"
PASSWORD = "made-up-password"
NAME = MachineId("clusterodm-abc-9-xyz")


@pytest.fixture
async def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DockerMachineSim]:
    with DockerMachineSim(tmp_path / "dm", network=10 + os.getpid() % 200) as sim:
        for name, value in sim.environment.items():
            monkeypatch.setenv(name, value)
        yield sim


def provider(tmp_path: Path, content: dict[str, Any] = DIGITALOCEAN, **changes: Any) -> DockerMachineProvider:
    found = read(content | changes, OUTSIDE)

    async def resolve(order: Order) -> Resolved:
        return Resolved(found.cloud.image, order.offer.region)

    return DockerMachineProvider(found, tmp_path / "locks", resolve)


def ordered(content: dict[str, Any] = DIGITALOCEAN, **launch: Any) -> Order:
    found = read(content, OUTSIDE)
    usual = {"image": "nodeodm", "token": Secret(TOKEN), "max_images": 40}
    return Order(
        name=NAME,
        offer=Offer(size=found.limits.sizes[0], region=found.limits.regions[0]),
        launch=Launch(**{**usual, **launch}),
        tags={"clusterodm-cluster": "abc"},
    )


async def broken_off(task: "asyncio.Task[Any]") -> None:
    """What becomes of a call when its autoscaler ends."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_program_is_looked_for(machines: DockerMachineSim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with structlog.testing.capture_logs() as lines:
        await provider(tmp_path).check()
    assert lines[-1]["event"] == "Found docker-machine executable"
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match=r'Docker-machine not found in PATH.*"mode": "api"'):
        await provider(tmp_path).check()


async def test_a_driver_that_is_not_there_ends_the_start(machines: DockerMachineSim, tmp_path: Path):
    machines.order(absent_drivers=["hetzner"])
    with pytest.raises(Refused, match=r'plugin binary.*"mode": "api"'):
        await provider(tmp_path, HETZNER).check()


async def test_a_driver_is_given_only_flags_that_it_knows(machines: DockerMachineSim, tmp_path: Path):
    machines.order(absent_flags=["hetzner-server-label"])  # as in 2.0.1
    used = provider(tmp_path, HETZNER)
    with pytest.raises(ProviderFailed, match="not defined: -hetzner-server-label"):
        await used.create(ordered(HETZNER))
    with structlog.testing.capture_logs() as lines:
        await used.check()
    assert lines[-1]["flags"] == ["--hetzner-server-label"]
    assert (await used.create(ordered(HETZNER))).name == NAME
    assert "label" not in await used.command(ordered(HETZNER))


async def test_a_driver_that_does_not_tell_its_flags_is_given_all(machines: DockerMachineSim, tmp_path: Path):
    machines.fail("create", "something else is wrong")
    used = provider(tmp_path, HETZNER)
    await used.check()
    assert "--hetzner-server-label" in await used.command(ordered(HETZNER))


@pytest.mark.parametrize("name", FILES)
async def test_a_machine_is_created_set_up_and_destroyed(machines: DockerMachineSim, tmp_path: Path, name: str):
    used = provider(tmp_path, FILES[name])
    order = ordered(
        FILES[name],
        swap_ratio=1.0,
        setup_command="test-command x",
        registry=DockerRegistry(url="reg.example.org", username="me", password=Secret(PASSWORD)),
    )
    with structlog.testing.capture_logs() as lines:
        found = await used.set_up(order, await used.create(order))
        node = f"http://{found.address}:3000/info"
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await until(lambda: answered(client, node), what="the node to answer")
            assert answer["maxImages"] == 40
        assert machines.rented()[NAME]["called"] == NAME, "at the cloud, where its list is asked for names"
        assert [each.name for each in await used.list("clusterodm-abc-")] == [NAME]
        assert await used.list("clusterodm-other-") == []
        assert await used.inspect(NAME) == found
        await used.set_up(order, found)
        assert machines.done().count("test-command x") == 2, "the marker is a program that does nothing here"
        assert machines.rented()[NAME]["login"]["password"] == len(PASSWORD)
        await used.destroy(NAME, "")
    assert (machines.rented(), machines.listed(), await used.inspect(NAME)) == ({}, [], None)
    told = repr(lines) + repr(machines.calls())
    assert "Docker is up and running!" in told
    assert not any(secret in told for secret in (*SECRETS[name], TOKEN, PASSWORD))


async def answered(client: httpx.AsyncClient, url: str) -> Any:
    with suppress(httpx.HTTPError):
        return (await client.get(url, params={"token": TOKEN})).json()


async def test_creating_twice_makes_one_machine(machines: DockerMachineSim, tmp_path: Path):
    used = provider(tmp_path)
    first = await used.create(ordered())
    assert await used.create(ordered()) == first
    assert len(machines.calls("create")) == 1


SOLD_OUT = "POST https://api: 422 this size is not available in this region"


async def test_a_creation_that_never_called_the_provider_leaves_nothing(machines: DockerMachineSim, tmp_path: Path):
    machines.fail("create", SOLD_OUT)
    with pytest.raises(ProviderFailed, match="422 this size") as caught:
        await provider(tmp_path).create(ordered())
    assert (caught.value.trouble, caught.value.leaves) == (Trouble.OUT_OF_CAPACITY, False)
    assert machines.calls("rm") == []


@pytest.mark.parametrize("name", FILES)
async def test_an_entry_without_an_id_is_no_machine_and_is_forgotten_although_its_driver_fails(
    machines: DockerMachineSim, tmp_path: Path, name: str
):
    machines.fail("create-called", SOLD_OUT)
    used = provider(tmp_path, FILES[name])
    with pytest.raises(ProviderFailed, match="422 this size") as caught:
        await used.create(ordered(FILES[name]))
    assert (caught.value.trouble, caught.value.leaves) == (Trouble.OUT_OF_CAPACITY, True)
    assert machines.listed() == [NAME]
    assert (await used.list("clusterodm-"), await used.inspect(NAME)) == ([], None)
    await used.destroy(NAME, "")
    assert machines.listed() == []


@pytest.mark.parametrize("name", FILES)
async def test_a_machine_that_the_provider_lost_is_forgotten_although_its_driver_fails(
    machines: DockerMachineSim, tmp_path: Path, name: str
):
    used = provider(tmp_path, FILES[name])
    await used.create(ordered(FILES[name]))
    machines.lose(NAME)
    await used.destroy(NAME, "")
    assert machines.listed() == []


async def test_what_cannot_be_removed_is_not_forgotten_and_the_trouble_stays_that_of_the_creation(
    machines: DockerMachineSim, tmp_path: Path
):
    machines.fail("create-noted", SOLD_OUT)
    used = provider(tmp_path)
    with pytest.raises(ProviderFailed, match="422 this size") as caught:
        await used.create(ordered())
    assert (caught.value.trouble, caught.value.leaves) == (Trouble.OUT_OF_CAPACITY, True)
    assert list(machines.rented()) == [NAME]
    for _ in range(2):
        machines.fail("rm-remote", "500 try again")
        with pytest.raises(ProviderFailed, match="500 try again"):
            await used.destroy(NAME, "")
    assert list(machines.rented()) == [NAME], "docker-machine must not forget what the provider still has"
    await used.destroy(NAME, "")
    assert (machines.rented(), machines.listed()) == ({}, [])


async def test_what_the_api_says_is_gone_is_forgotten_whatever_the_driver_says(
    machines: DockerMachineSim, tmp_path: Path
):
    used = provider(tmp_path)
    await used.create(ordered())
    machines.fail("rm-remote", "500 try again")
    await used.forget(NAME)
    assert machines.listed() == []


async def test_a_removal_that_never_ends_is_ended(machines: DockerMachineSim, tmp_path: Path):
    used = provider(tmp_path, destroyTimeout=2)
    await used.create(ordered())
    machines.order(rm_s=60)
    with pytest.raises(ProviderFailed, match="it was ended after 1 s"):
        await used.destroy(NAME, "")


async def test_a_driver_that_is_not_installed_says_nothing_about_a_machine(machines: DockerMachineSim, tmp_path: Path):
    used = provider(tmp_path)
    await used.create(ordered())
    machines.fail(
        "rm-remote", 'Driver "digitalocean" not found. Do you have the plugin binary accessible in your PATH?'
    )
    with pytest.raises(ProviderFailed, match="not found"):
        await used.destroy(NAME, "")
    assert machines.listed() == [NAME]


async def test_a_creation_that_outlives_its_caller_is_waited_for(machines: DockerMachineSim, tmp_path: Path):
    machines.order(create_s=1.0)
    used = provider(tmp_path)
    creating = asyncio.get_running_loop().create_task(used.create(ordered()), name="creating")
    await until(machines.listed, what="docker-machine to begin")
    await broken_off(creating)
    assert machines.rented() == {}
    await provider(tmp_path).destroy(NAME, "")
    assert (machines.rented(), machines.listed()) == ({}, [])
    assert machines.place.calls()[-1]["words"][0] == "rm"


async def test_a_creation_that_outlives_its_caller_is_gone_on_with(machines: DockerMachineSim, tmp_path: Path):
    machines.order(create_s=0.7)
    creating = asyncio.get_running_loop().create_task(provider(tmp_path).create(ordered()), name="creating")
    await until(machines.listed, what="docker-machine to begin")
    await broken_off(creating)
    found = await provider(tmp_path).create(ordered())
    assert found.address == machines.rented()[NAME]["address"]
    assert len(machines.calls("create")) == 1


async def test_a_creation_that_never_ends_is_ended(machines: DockerMachineSim, tmp_path: Path):
    machines.order(create_s=60)
    used = provider(tmp_path, createTimeout=1)
    creating = asyncio.get_running_loop().create_task(used.create(ordered()), name="creating")
    await until(machines.listed, what="docker-machine to begin")
    await broken_off(creating)
    await asyncio.wait_for(used.destroy(NAME, ""), 10)
    assert machines.listed() == []


async def test_on_aws_too_a_creation_that_outlives_its_caller_is_gone_on_with(
    machines: DockerMachineSim, tmp_path: Path
):
    machines.order(create_s=0.7)
    creating = asyncio.get_running_loop().create_task(provider(tmp_path, AWS).create(ordered(AWS)), name="creating")
    await until(machines.listed, what="docker-machine to begin")
    await broken_off(creating)
    await provider(tmp_path, AWS).create(ordered(AWS))
    assert len(machines.calls("create")) == 1


@pytest.mark.parametrize("content", [DIGITALOCEAN, AWS], ids=["digitalocean", "aws"])
async def test_a_set_up_that_outlives_its_caller_is_gone_on_with(
    machines: DockerMachineSim, tmp_path: Path, content: dict[str, Any]
):
    machines.order(**{"docker-run_s": 1.0})
    used, order = provider(tmp_path, content), ordered(content)
    found = await used.create(order)
    setting_up = asyncio.get_running_loop().create_task(used.set_up(order, found), name="setting up")
    await until(lambda: machines.calls("ssh"), what="the set-up to begin")
    await broken_off(setting_up)
    assert await provider(tmp_path, content).set_up(order, found) == found
    assert "pid" in machines.rented()[NAME]


async def test_a_set_up_that_outlives_its_caller_does_not_delay_the_end_of_its_machine(
    machines: DockerMachineSim, tmp_path: Path
):
    machines.order(**{"docker-run_s": 60})
    used = provider(tmp_path)
    found = await used.create(ordered())
    setting_up = asyncio.get_running_loop().create_task(used.set_up(ordered(), found), name="setting up")
    await until(lambda: machines.calls("ssh"), what="the set-up to begin")
    await broken_off(setting_up)
    await asyncio.wait_for(provider(tmp_path).destroy(NAME, ""), 20)
    assert (machines.rented(), machines.listed()) == ({}, [])


async def test_a_set_up_that_fails_says_why(machines: DockerMachineSim, tmp_path: Path):
    used = provider(tmp_path)
    found = await used.create(ordered())
    machines.fail("docker-run", "docker: Error response from daemon: pull access denied")
    with pytest.raises(ProviderFailed, match="it could not be set up: docker: Error"):
        await used.set_up(ordered(), found)


async def test_what_it_says_of_a_creation_and_a_set_up_is_the_boot_log(machines: DockerMachineSim, tmp_path: Path):
    lines = BootLines()
    order = replace(ordered(), boot=lines.of(NAME))
    used = provider(tmp_path)
    found = await used.create(order)
    created = list(lines.unkept(NAME).said)
    assert any("Creating" in line or "Running pre-create checks" in line for line in created), created
    machines.fail("docker-run", "docker: Error response from daemon: pull access denied")
    with pytest.raises(ProviderFailed):
        await used.set_up(order, found)
    assert lines.unkept(NAME).said[-1].startswith("docker: Error response from daemon")


async def test_a_machine_that_has_vanished_is_neither_listed_nor_found(machines: DockerMachineSim, tmp_path: Path):
    used = provider(tmp_path)
    await used.create(ordered())
    machines.lose(NAME)
    assert await used.list("clusterodm-") == []
    assert await used.inspect(NAME) is None
    await used.destroy(NAME, "")
    assert machines.listed() == []


async def test_destroying_what_is_not_there_is_done(machines: DockerMachineSim, tmp_path: Path):
    await provider(tmp_path).destroy(NAME, "")
    assert len(machines.calls("rm")) == 1


async def test_the_command_is_shown_without_its_secrets(machines: DockerMachineSim, tmp_path: Path):
    shown = await provider(tmp_path, AWS).command(ordered(AWS))
    assert shown.startswith("AWS_ACCESS_KEY_ID=*** AWS_SECRET_ACCESS_KEY=*** docker-machine create --driver amazonec2")
    assert not any(secret in shown for secret in SECRETS["aws"])
