"""docs/examples/apptainer as it stands there, against an Apptainer of our own."""

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.file import parse
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from tests.asr_files import OUTSIDE
from tests.example_programs import EXAMPLES, NAME, PREFIX, TOKEN, order, provided
from tests.integration import fake_apptainer
from tests.waiting import until

pytestmark = pytest.mark.slow

EXAMPLE = EXAMPLES / "apptainer"


@pytest.fixture
def apptainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An Apptainer; the folder of its state."""
    folder = tmp_path / "apptainer"
    programs = fake_apptainer.install(folder)
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTERODM_APPTAINER_FOLDER", str(tmp_path / "machines"))
    monkeypatch.setenv("CLUSTERODM_LEASE_CHECK_S", "0.3")
    yield folder
    for each in fake_apptainer.instances(folder):
        fake_apptainer.stop(folder, [each["name"]])


@pytest.fixture
async def provider(apptainer: Path, tmp_path: Path) -> AsyncIterator[BootedProvider]:
    _ = apptainer
    async with provided(EXAMPLE, tmp_path, "-S") as found:
        yield found


def test_the_example_configuration_is_one():
    text = (EXAMPLE / "asr-apptainer.json").read_text()
    found = parse(text, OUTSIDE)
    assert found.provider == "command"
    assert {size.slug for size in found.limits.sizes} == set(json.loads((EXAMPLE / "sizes.json").read_text()))


async def test_an_instance_becomes_a_node_that_answers_and_is_gone_when_stopped(
    provider: BootedProvider, apptainer: Path
):
    await provider.check()
    up = await provider.set_up(order(), await provider.create(order()))
    async with httpx.AsyncClient(base_url=f"http://{up.address}:{up.port}", timeout=5) as node:
        assert "version" in (await node.get("/info", params={"token": TOKEN})).json()
    assert [each.name for each in await provider.list(PREFIX)] == [NAME]
    (instance,) = fake_apptainer.instances(apptainer)
    assert (await provider.create(order())).ref == str(instance["pid"])
    assert {"--memory", "32G"} <= set(instance["words"])
    assert TOKEN not in json.dumps(instance)
    folder = apptainer.parent / "machines" / NAME
    assert [each.name for each in folder.iterdir() if each.stat().st_mode & 0o077] == []
    (apptainer / "deaf").touch()
    await provider.destroy(NAME, up.ref)
    assert fake_apptainer.instances(apptainer) == []
    assert not folder.exists()
    assert await provider.inspect(NAME) is None


@pytest.mark.parametrize(
    ("words", "trouble"),
    [
        pytest.param(
            "container creation failed: while applying cgroups config: rootless cgroups require a D-Bus session",
            Trouble.REFUSED,
            id="no cgroups",
        ),
        pytest.param("while extracting layer: write: no space left on device", Trouble.OUT_OF_CAPACITY, id="disk full"),
        pytest.param(
            "Unable to handle docker://opendronemap/nodeodm uri: while building SIF from layers: conveyor failed to get:"
            " pinging container registry registry-1.docker.io: dial tcp: i/o timeout",
            Trouble.RETRYABLE,
            id="registry away",
        ),
        pytest.param(
            "Unable to handle docker://private/x uri: reading manifest latest: unauthorized: authentication required",
            Trouble.UNAUTHORISED,
            id="private image",
        ),
    ],
)
async def test_what_apptainer_says_is_told_apart(
    provider: BootedProvider, apptainer: Path, words: str, trouble: Trouble
):
    (apptainer / "refuse").write_text(words)
    with pytest.raises(ProviderFailed, match="FATAL") as caught:
        await provider.create(order())
    assert caught.value.trouble is trouble


async def test_an_image_and_a_size_that_are_not_there_are_refused(provider: BootedProvider):
    for wrong, said in ((order(image="/nowhere/odm.sif"), "no such file"), (order("huge"), "no size 'huge'")):
        with pytest.raises(ProviderFailed, match=said) as caught:
            await provider.create(wrong)
        assert caught.value.trouble is Trouble.REFUSED


async def test_an_instance_that_is_there_although_its_start_failed_is_found(provider: BootedProvider, apptainer: Path):
    (apptainer / "half").write_text("failed to start instance: while running starter: exit status 255")
    found = await provider.create(order())
    assert found.name == NAME
    assert found.ref == str(fake_apptainer.instances(apptainer)[0]["pid"])


async def test_a_machine_that_nobody_wants_ends_itself_and_takes_its_files_along(
    provider: BootedProvider, apptainer: Path
):
    unwanted = order(lease_url=Secret("http://127.0.0.1:9/lease?token=x"), lease_s=1)
    await provider.create(unwanted)
    assert len(fake_apptainer.instances(apptainer)) == 1
    await until(lambda: fake_apptainer.instances(apptainer) == [], timeout_s=30)
    await until(lambda: not (apptainer.parent / "machines" / NAME).exists(), timeout_s=10)
    assert await provider.inspect(NAME) is None
