"""The provider `command` and programs that are slow, outlive the autoscaler, or talk too much."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings, StepTimeouts
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.command import CommandVendor
from tests.waiting import until

NAME = MachineId("clusterodm-c1-5-abc")
OTHER_NAME = MachineId("clusterodm-c1-6-def")
TOKEN = "node-token-7c9e"
ORDER = Order(
    name=NAME,
    offer=Offer(size=Size(slug="any", max_images=5)),
    launch=Launch(image="opendronemap/nodeodm", token=Secret(TOKEN)),
)
CREATE = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
asked = json.load(sys.stdin)
(folder / "begun").touch()
while not (folder / "go-on").exists():
    time.sleep(0.02)
number = len(list(folder.glob("machine-*")))
(folder / f"machine-{number}").write_text(asked["name"])
print(json.dumps({"ref": str(number)}))
"""
LIST = """
import json, pathlib, sys
found = [{"name": each.read_text(), "ref": each.name} for each in pathlib.Path(sys.argv[1]).glob("machine-*")]
print(json.dumps({"machines": found}))
"""
DESTROY = """
import json, pathlib, sys
asked = json.load(sys.stdin)
for each in pathlib.Path(sys.argv[1]).glob("machine-*"):
    if each.read_text() == asked["name"]:
        each.unlink()
"""
AUTOSCALER = """
import asyncio, sys
from pathlib import Path
from tests.integration.test_command_provider import ORDER, provider
asyncio.run(provider(Path(sys.argv[1])).create(ORDER))
"""


def provider(folder: Path, create: str = CREATE, **timeouts: int) -> BootedProvider:
    programs = {"create": create, "list": LIST, "destroy": DESTROY}
    commands = {verb: (sys.executable, "-S", "-c", text, str(folder)) for verb, text in programs.items()}
    vendor = CommandVendor(CloudSettings(commands=commands), StepTimeouts(**timeouts), folder / "locks")
    return BootedProvider(vendor, poll_s=0.05, removal_wait_s=60, recheck_s=0.2)


def killed_while_creating(folder: Path) -> None:
    """An autoscaler that is killed while its program creates a machine."""
    process = subprocess.Popen([sys.executable, "-c", AUTOSCALER, str(folder)], cwd=Path(__file__).parents[2])
    try:
        while not (folder / "begun").exists():
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def machines(folder: Path) -> list[str]:
    return [file.read_text() for file in folder.glob("machine-*")]


async def go_on(folder: Path) -> None:
    for _ in range(2):  # what comes later and waits for no program is done by now
        await provider(folder).destroy(OTHER_NAME, "")
    assert machines(folder) == []
    (folder / "go-on").touch()


async def test_a_program_that_outlives_the_autoscaler_is_waited_for_and_creates_no_second_machine(tmp_path: Path):
    await asyncio.to_thread(killed_while_creating, tmp_path)
    async with asyncio.TaskGroup() as group:
        group.create_task(go_on(tmp_path))
        again = group.create_task(provider(tmp_path).create(ORDER))
    assert again.result().name == NAME
    assert machines(tmp_path) == [NAME]


async def test_nothing_is_destroyed_behind_the_back_of_a_program_that_still_creates(tmp_path: Path):
    await asyncio.to_thread(killed_while_creating, tmp_path)
    async with asyncio.TaskGroup() as group:
        group.create_task(go_on(tmp_path))
        group.create_task(provider(tmp_path).destroy(NAME, ""))
    assert machines(tmp_path) == []


async def test_a_program_that_takes_too_long_is_ended_with_all_that_it_has_started(tmp_path: Path):
    create = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "pathlib.Path(sys.argv[1], 'child').write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(ProviderFailed, match="no answer in 3 s") as caught:
        await provider(tmp_path, create, create_s=3).create(ORDER)
    assert caught.value.trouble is Trouble.UNKNOWN_OUTCOME
    child = int((tmp_path / "child").read_text())
    await until(lambda: is_gone(child))


def is_gone(pid: int) -> bool:
    stat = Path("/proc", str(pid), "stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


async def test_what_a_program_says_is_logged_without_secrets(tmp_path: Path):
    create = (
        "import json, sys\nasked = json.load(sys.stdin)\nprint(asked['node_arguments'], file=sys.stderr)\nsys.exit(2)\n"
    )
    with capture_logs() as logs, pytest.raises(ProviderFailed) as caught:
        await provider(tmp_path, create).create(ORDER)
    assert "***" in caught.value.message
    assert [each["line"] for each in logs if each["event"] == "command.said"] == ["['-q', '1', '--token', '***']"]
    assert TOKEN not in json.dumps(logs) + caught.value.message


class Heard:
    """Where a boot is heard of."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, line: str) -> None:
        self.lines.append(line)

    def shows(self, lines: Sequence[str]) -> None:
        self.lines += lines


async def test_what_create_says_is_the_boot_log_as_it_comes(tmp_path: Path):
    create = (
        "import pathlib, sys, time\nfolder = pathlib.Path(sys.argv[1])\nprint('one', file=sys.stderr, flush=True)\n"
        "while not (folder / 'go-on').exists(): time.sleep(0.02)\n"
        "print('x' * 100_000, 'two', 'three', sep='\\n', end='', file=sys.stderr)\nprint('{}')\n"
    )
    heard = Heard()
    creating = asyncio.get_running_loop().create_task(
        provider(tmp_path, create).create(replace(ORDER, boot=heard)), name="creating"
    )
    await until(lambda: heard.lines == ["one"], what="the first line before the program ends")
    (tmp_path / "go-on").touch()
    await creating
    assert heard.lines == ["one", "(a line of more than 65536 bytes)", "two", "three"]


async def test_a_program_that_does_not_exist_is_refused(tmp_path: Path):
    commands = {verb: (str(tmp_path / "nothing"),) for verb in ("create", "list", "destroy")}
    vendor = CommandVendor(CloudSettings(commands=commands), StepTimeouts(), tmp_path)
    with pytest.raises(ProviderFailed, match="No such file") as caught:
        await vendor.starting("clusterodm-")
    assert caught.value.trouble is Trouble.REFUSED


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_program_need_not_read_what_it_is_given(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]):
    deaf = "/bin/sh", "-c", "exec echo '{\"machines\": []}'"
    vendor = CommandVendor(CloudSettings(commands={"list": deaf}), StepTimeouts(), tmp_path / "locks")
    more_than_a_pipe_holds = "x" * 1_000_000

    async def listed() -> None:
        for _ in range(30):
            assert await vendor.starting(more_than_a_pipe_holds) == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(listed())


async def test_a_cancelled_call_leaves_no_program_behind(tmp_path: Path):
    async with asyncio.TaskGroup() as group:
        creating = group.create_task(provider(tmp_path).create(ORDER))
        await until((tmp_path / "begun").exists)
        creating.cancel()
    (tmp_path / "go-on").touch()
    assert await provider(tmp_path).inspect(NAME) is None
    assert machines(tmp_path) == []
