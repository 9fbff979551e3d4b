"""spool/adapters/disk.py: which directories of a spool are tasks'."""

from pathlib import Path

import pytest

from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.errors import SpoolRefused
from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.adapters.spool import open_spool


async def test_what_a_file_system_keeps_at_the_top_of_a_disk_is_no_task(tmp_path: Path) -> None:
    found = tmp_path / "lost+found"
    (found / disk.PARTS).mkdir(parents=True)
    files = [found / disk.PARTS / "#1234", found / ".hidden"]
    for file in files:
        file.write_bytes(b"what fsck has found")
    found.chmod(0)  # nobody but root may look into it
    clock = FakeClock()
    async with open_spool(tmp_path, await MemoryBus().bucket(UPLOADS), "http://p", clock=clock) as spool:
        await spool.remove_orphans(idle_s=0)
        clock.pass_s(1)
        await spool.remove_orphans(idle_s=0)
        assert spool.entries_count == 0
    found.chmod(0o700)
    assert all(file.exists() for file in files)


@pytest.mark.parametrize(
    "name", ["photos/a.jpg", ".ssh/id_ed25519", "notes.txt", ".bashrc", "00000000-0000-4000-8000-00000000000/a.jpg"]
)
async def test_what_others_put_beside_tasks_is_left_alone(tmp_path: Path, name: str) -> None:
    clock, uploads = FakeClock(), await MemoryBus().bucket(UPLOADS)
    async with open_spool(tmp_path, uploads, "http://p", clock=clock):
        pass
    other = tmp_path / name
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(b"somebody's")
    async with open_spool(tmp_path, uploads, "http://p", clock=clock) as spool:
        await spool.remove_orphans(idle_s=0)
        clock.pass_s(1)
        await spool.remove_orphans(idle_s=0)
        assert spool.entries_count == 0
    assert other.read_bytes() == b"somebody's"


async def test_a_directory_with_other_things_in_it_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.txt").write_text("somebody's")
        (tmp_path / f"{name}.txt").chmod(0o644)
    uploads = await MemoryBus().bucket(UPLOADS)
    with pytest.raises(SpoolRefused, match=r"is no spool and is not empty \(a.txt, b.txt, c.txt, ...\): give"):
        async with open_spool(tmp_path, uploads, "http://p", clock=FakeClock()):
            pass
    assert modes(tmp_path) == {f"{name}.txt": 0o644 for name in "abcd"}


def modes(folder: Path) -> dict[str, int]:
    return {each.name: each.stat().st_mode & 0o777 for each in folder.iterdir()}


async def test_a_spool_that_has_lost_its_instance_is_still_one(tmp_path: Path) -> None:
    clock, uploads = FakeClock(), await MemoryBus().bucket(UPLOADS)
    async with open_spool(tmp_path, uploads, "http://p", clock=clock):
        (tmp_path / "11111111-2222-4333-8444-555555555555").mkdir()
    (tmp_path / "instance").unlink()
    async with open_spool(tmp_path, uploads, "http://p", clock=clock) as spool:
        assert spool.instance
