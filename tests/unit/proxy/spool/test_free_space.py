"""spool/adapters/free_space.py: how often the disk is asked, and what is counted in between."""

import os
import shutil
from pathlib import Path

import pytest

from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.proxy.spool.adapters.free_space import ASK_AGAIN_S, FILES_RESERVE_COUNT, FreeSpace, free_bytes


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def space(tmp_path: Path, clock: FakeClock) -> FreeSpace:
    return FreeSpace(tmp_path / "spool", clock, 0)


def test_what_has_come_is_counted_until_the_disk_is_asked_again(
    space: FreeSpace, clock: FakeClock, tmp_path: Path
) -> None:
    root = tmp_path / "spool"
    root.mkdir()
    said_bytes = space.left_bytes()
    assert said_bytes > 0
    space.taken(1 << 50)
    clock.pass_s(ASK_AGAIN_S / 2)
    assert space.left_bytes() == said_bytes - (1 << 50)
    clock.pass_s(ASK_AGAIN_S)
    assert 0 < space.left_bytes() <= shutil.disk_usage(root).total


def test_who_asks_the_disk_itself_is_not_told_what_it_said_before(space: FreeSpace, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    space.left_bytes()
    space.taken(1 << 50)
    assert space.present_bytes() > 0
    assert space.left_bytes() > 0


def test_a_spool_that_is_gone_has_no_room_at_all(space: FreeSpace) -> None:
    assert space.left_bytes() == space.present_bytes() == -1


@pytest.mark.parametrize(
    ("files_count", "left_count", "left_bytes"),
    [
        pytest.param(10_000, FILES_RESERVE_COUNT, 4096 * 50, id="enough of both"),
        pytest.param(10_000, FILES_RESERVE_COUNT - 1, -1, id="room for bytes alone"),
        pytest.param(0, 0, 4096 * 50, id="one that counts no files"),
    ],
)
def test_a_disk_on_which_no_more_files_fit_is_full(files_count: int, left_count: int, left_bytes: int) -> None:
    said = os.statvfs_result((4096, 4096, 100, 60, 50, files_count, left_count, left_count, 0, 255))
    assert free_bytes(said) == left_bytes
