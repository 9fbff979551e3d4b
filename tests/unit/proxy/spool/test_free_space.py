"""spool/adapters/free_space.py: how often the disk is asked, and what is counted in between."""

import shutil
from pathlib import Path

import pytest

from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.proxy.spool.adapters.free_space import ASK_AGAIN_S, FreeSpace


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def space(tmp_path: Path, clock: FakeClock) -> FreeSpace:
    return FreeSpace(tmp_path / "spool", clock)


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
