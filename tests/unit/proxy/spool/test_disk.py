"""spool/adapters/disk.py: which directories of a spool are tasks'."""

from pathlib import Path

from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
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
