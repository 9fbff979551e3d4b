"""Snapshots: which are old, what they cost, and that nothing is left that costs unseen, whatever fails."""

import asyncio
import os
import socket
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.machinesim.cloud import Cloud
from clusterodm.services.autoscaler.orders import DockerRegistry, Launch, Offer, Order, ProviderMachine, Size
from clusterodm.services.autoscaler.providers.core.cloud_init import boot_script, user_data
from clusterodm.services.autoscaler.providers.core.snapshots import (
    BUILDERS,
    OLD_MS,
    DiskSnapshot,
    StoragePrice,
    left_behind,
    lines_of,
    outdated,
)
from clusterodm.services.autoscaler.providers.handlers import DESTROY_TRIES_COUNT, Snapshots

NAME = "clusterodm-nodeodm"
EURO = StoragePrice(per_gigabyte_month=0.01, currency="EUR")
NOW_MS = 1_800_000_000_000
ORDER = Order(
    name=MachineId(f"{BUILDERS}abc"),
    offer=Offer(size=Size(slug="small", max_images=5), region="a"),
    launch=Launch(image="opendronemap/nodeodm", token=Secret(""), snapshot_key=Secret("k3y")),
)


def snapshot(ref: str, at_ms: int, name: str = NAME, **more: Any) -> DiskSnapshot:
    return DiskSnapshot(ref=ref, name=name, created_at_ms=at_ms, gigabytes=2.5, **more)


def test_those_that_newer_ones_have_replaced_are_old():
    known = [snapshot("1", 10), snapshot("3", 30), snapshot("2", 20), snapshot("x", 40, name="clusterodm-other")]
    assert [each.ref for each in outdated(known, NAME, 1)] == ["2", "1"]
    assert [each.ref for each in outdated(known, NAME, 2)] == ["1"]
    assert outdated(known, NAME, 3) == []


def test_what_cannot_be_used_replaces_nothing():
    known = [snapshot("1", 10), snapshot("2", 20, available=False)]
    assert outdated(known, NAME, 1) == []


def test_a_list_says_what_all_of_it_costs():
    machine = ProviderMachine(name=ORDER.name, ref="77")
    lines = lines_of([snapshot("1", NOW_MS, regions=("ams3",)), snapshot("2", NOW_MS + 60_000)], EURO, [machine])
    assert lines == [
        "2  clusterodm-nodeodm  2027-01-15 08:01 UTC  2.5 GB, about 0.03 EUR a month",
        "1  clusterodm-nodeodm  2027-01-15 08:00 UTC in ams3  2.5 GB, about 0.03 EUR a month",
        "2 snapshots: about 0.05 EUR a month",
        "machine clusterodm-snapshot-abc (77) is becoming a snapshot, or was left behind: it costs",
    ]
    assert lines_of([], EURO, []) == ["no snapshots"]


def test_a_machine_is_left_behind_when_nobody_can_be_at_it_any_more():
    young = ProviderMachine(name=MachineId("y"), created_at_ms=NOW_MS - OLD_MS + 1)
    old = ProviderMachine(name=MachineId("o"), created_at_ms=NOW_MS - OLD_MS - 1)
    assert left_behind([young, old, ProviderMachine(name=MachineId("unknown"))], NOW_MS) == [old]


class Store:
    """Keeps snapshots; what is asked for fails."""

    def __init__(self, *kept: DiskSnapshot) -> None:
        self.kept = list(kept)
        self.off_fails: BaseException | None = None
        self.take_fails: BaseException | None = None
        self.leaves: DiskSnapshot | None = None

    async def switch_off(self, ref: str) -> None:
        del ref
        if self.off_fails:
            raise self.off_fails

    async def take(self, ref: str, name: str) -> DiskSnapshot:
        assert ref
        if self.leaves:
            self.kept.append(self.leaves)
        if self.take_fails:
            raise self.take_fails
        self.kept.append(snapshot("new", NOW_MS, name=name))
        return self.kept[-1]

    async def starting(self, prefix: str) -> list[DiskSnapshot]:
        return [each for each in self.kept if each.name.startswith(prefix)]

    async def delete(self, ref: str) -> None:
        self.kept = [each for each in self.kept if each.ref != ref]

    async def price(self) -> StoragePrice:
        return EURO


class Stage:
    """All of it."""

    def __init__(self, *kept: DiskSnapshot, told: str | ProviderFailed = "ready") -> None:
        self.cloud = Stubborn()
        self.store = Store(*kept)
        self.said: list[str] = []
        self._told = told
        self.snapshots = Snapshots(
            provider=self.cloud,
            store=self.store,
            probe=self,
            clock=FakeClock(wall_ms=NOW_MS),
            say=self.said.append,
            sleep=self.nap,
        )

    async def nap(self, seconds: float) -> None:
        assert seconds > 0

    async def told(self, machine: ProviderMachine) -> str:
        assert machine.address
        if isinstance(self._told, ProviderFailed):
            raise self._told
        return self._told

    @property
    def here(self) -> list[str]:
        return [str(name) for name in self.cloud.machines]


class Stubborn(Cloud):
    """A cloud that does not let machines go for some tries."""

    def __init__(self) -> None:
        super().__init__(ProviderMachine)
        self.refusals = 0
        self.tries = 0

    async def destroy(self, name: str, ref: str) -> Any:
        self.tries += 1
        if self.refusals:
            self.refusals -= 1
            raise ProviderFailed("it has a pending event", Trouble.RETRYABLE)
        return await super().destroy(name, ref)


async def test_a_snapshot_is_taken_and_replaces_older_ones_and_its_machine_goes():
    stage = Stage(
        snapshot("1", NOW_MS - 30), snapshot("2", NOW_MS - 20), snapshot("x", NOW_MS - 40, name="clusterodm-other")
    )
    made = await stage.snapshots.create(ORDER, NAME, 2)
    assert made.ref == "new"
    assert ([each.ref for each in stage.store.kept], stage.here) == (["2", "x", "new"], [])
    assert stage.said[-2:] == [
        "new  clusterodm-nodeodm  2027-01-15 08:00 UTC  2.5 GB, about 0.03 EUR a month",
        "deleted the older 1",
    ]


FAILED = ProviderFailed("the snapshot failed", Trouble.RETRYABLE)


def off(stage: Stage) -> None:
    stage.store.off_fails = ProviderFailed("it does not turn off")


def half(stage: Stage) -> None:
    stage.store.take_fails, stage.store.leaves = FAILED, snapshot("half", NOW_MS, available=False)


def interrupted(stage: Stage) -> None:
    stage.store.take_fails, stage.store.leaves = asyncio.CancelledError(), snapshot("half", NOW_MS, available=False)


def busy(stage: Stage) -> None:
    half(stage)
    stage.cloud.refusals = 3


@pytest.mark.parametrize("fails", [off, half, interrupted, busy])
async def test_nothing_is_left_of_one_that_fails_and_the_old_one_stays(fails: Callable[[Stage], None]):
    stage = Stage(snapshot("old", NOW_MS - 1_000_000))
    fails(stage)
    with pytest.raises((ProviderFailed, asyncio.CancelledError)):
        await stage.snapshots.create(ORDER, NAME, 1)
    assert ([each.ref for each in stage.store.kept], stage.here) == (["old"], [])
    assert f"destroyed {ORDER.name}" in stage.said


@pytest.mark.parametrize(
    ("told", "words"),
    [
        pytest.param("E: no space\nended with code 1", "could not be put onto the machine: E: no space", id="says why"),
        pytest.param(ProviderFailed("m does not say"), "m does not say", id="says nothing"),
    ],
)
async def test_a_machine_that_could_not_pull_the_image_is_destroyed(told: str | ProviderFailed, words: str):
    stage = Stage(told=told)
    with pytest.raises(ProviderFailed, match=words):
        await stage.snapshots.create(ORDER, NAME, 1)
    assert (stage.store.kept, stage.here) == ([], [])


async def test_a_machine_that_cannot_be_destroyed_is_named_as_what_costs():
    stage = Stage()
    stage.cloud.refusals = DESTROY_TRIES_COUNT
    with pytest.raises(ProviderFailed, match=f"the machine {ORDER.name} could not be destroyed and COSTS"):
        await stage.snapshots.create(ORDER, NAME, 1)
    assert stage.cloud.tries == DESTROY_TRIES_COUNT
    assert [each.ref for each in stage.store.kept] == ["new"]


async def test_what_a_killed_attempt_has_left_goes_with_the_next_one_and_is_listed_until_then():
    stage = Stage()
    made = await stage.cloud.create(ORDER)
    await stage.snapshots.show()
    assert stage.said[-1].startswith(f"machine {made.name}")
    listed = stage.cloud.list

    async def long_ago(prefix: str) -> list[ProviderMachine]:
        return [
            ProviderMachine(name=each.name, ref=each.ref, created_at_ms=NOW_MS - OLD_MS - 1)
            for each in await listed(prefix)
        ]

    stage.cloud.list = long_ago  # type: ignore[method-assign]
    other = Order(name=MachineId(f"{BUILDERS}def"), offer=ORDER.offer, launch=ORDER.launch)
    await stage.snapshots.create(other, NAME, 1)
    assert f"destroyed {ORDER.name}, which was left behind" in stage.said
    assert stage.here == []


async def test_only_what_is_ours_can_be_deleted():
    stage = Stage(snapshot("1", 1), snapshot("9", 1, name="my-own"))
    with pytest.raises(Refused, match="no snapshot '9'"):
        await stage.snapshots.delete("9")
    await stage.snapshots.delete("1")
    assert [each.ref for each in stage.store.kept] == ["9"]


def boot(folder: Path, docker: str) -> tuple[int, Path]:
    """Run the boot script of such a machine where programs stand in; the port at which it tells, and its folder."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    registry = DockerRegistry(url="registry.example.org", username="robot", password=Secret("pw"))
    launch = Launch(image="odm/node", token=Secret(""), registry=registry, snapshot_key=Secret("k3y"), port=port)
    programs = folder / "bin"
    programs.mkdir()
    own = folder / "opt"
    own.mkdir()
    (own / "registry-password").write_text("pw")
    for name, content in {
        "docker": docker,
        "cloud-init": "",
        "systemctl": "",
        "service": "",
        "sync": "",
        "sleep": "",
    }.items():
        (programs / name).write_text(f'#!/bin/sh\necho "$0 $*" >>{folder}/called\n{content}\n')
        (programs / name).chmod(0o755)
    script = boot_script(launch, "")
    for real, played in (
        ("/run/", f"{folder}/"),
        ("/opt/clusterodm", str(own)),
        ("/root/", f"{folder}/"),
        ("/etc/", f"{folder}/"),
    ):
        script = script.replace(real, played)
    (folder / "clusterodm-snapshot-key").write_text("k3y")
    (folder / "boot.sh").write_text(script)
    return port, own


def asked(port: int, path: str) -> tuple[int, str]:
    """Ask the machine, once it listens."""
    deadline_s = time.monotonic() + 20
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("docker", "said"),
    [
        pytest.param("", "ready", id="the image is there"),
        pytest.param(
            '[ "$1" != pull ] || { echo "no such manifest" >&2; exit 1; }', "no such manifest", id="it is not"
        ),
    ],
)
def test_a_machine_tells_who_has_its_key_whether_the_image_is_there(tmp_path: Path, docker: str, said: str):
    port, own = boot(tmp_path, docker)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    running = subprocess.Popen(
        ["bash", tmp_path / "boot.sh"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        status, text = asked(port, "k3y")
        assert (status, asked(port, "guess")) == (200, (404, ""))
    finally:
        running.kill()
        running.wait()
    assert said in text
    called = (tmp_path / "called").read_text()
    assert "pull odm/node" in called
    if said == "ready":
        assert text.strip() == "ready"
        assert "cloud-init clean" in called
        assert not own.exists()  # no secret is in the snapshot
    else:
        assert text.splitlines()[-1] == "ended with code 1"
    assert stat.S_IMODE((tmp_path / "clusterodm-snapshot.log").stat().st_mode) == 0o600


def test_such_a_machine_runs_no_node_and_has_no_lease():
    text = user_data(ORDER.launch)
    assert "docker run" not in text
    assert "clusterodm-lease" not in text
    assert "k3y" in text
