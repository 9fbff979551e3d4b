"""What lies on the disk is its user's alone."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.files import keep_private, make_private, mend, read_regular


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def left_open(tmp_path: Path) -> Path:
    """A directory as an earlier version left it under the usual umask."""
    folder = tmp_path / "spool"
    (folder / "task" / "files").mkdir(parents=True)
    (folder / "task" / "draft.json").write_text("secret")
    (folder / "task" / "files" / "a.jpg").write_text("photo")
    for path in (folder, folder / "task", folder / "task" / "files"):
        path.chmod(0o755)
    for path in (folder / "task" / "draft.json", folder / "task" / "files" / "a.jpg"):
        path.chmod(0o644)
    return folder


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_what_is_made_is_private_whatever_the_umask(tmp_path: Path):
    keep_private()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    assert (mode(tmp_path / "folder"), mode(tmp_path / "file")) == (0o700, 0o600)


@pytest.mark.usefixtures("usual_umask")
def test_a_directory_is_made_private(tmp_path: Path):
    assert make_private(tmp_path / "new") == 0
    assert mode(tmp_path / "new") == 0o700


def test_what_was_left_open_is_closed_and_counted(left_open: Path):
    assert mend(left_open) == 5
    assert {mode(path) for path in left_open.rglob("*")} == {0o700, 0o600}
    assert mode(left_open) == 0o700
    assert mend(left_open) == 0


def test_what_is_behind_a_closed_directory_is_not_walked_through(left_open: Path):
    left_open.chmod(0o700)
    assert mend(left_open) == 0
    assert mode(left_open / "task" / "draft.json") == 0o644


def test_links_are_not_followed(left_open: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (left_open / "link").symlink_to(outside)
    mend(left_open)
    assert mode(outside) == 0o644


def test_a_directory_that_all_share_stays_as_it_is(left_open: Path):
    left_open.chmod(0o1777)
    assert mend(left_open) == 0
    assert mode(left_open) == 0o1777


def test_a_right_to_execute_stays_with_its_user(left_open: Path):
    program = left_open / "program"
    program.write_text("x")
    program.chmod(0o755)
    mend(left_open)
    assert mode(program) == 0o700


def test_a_file_is_read_no_further_than_one_byte_beyond_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    assert read_regular(path, 3) == b"1234"


def test_a_pipe_a_device_and_a_directory_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull), tmp_path):
        with pytest.raises(Refused, match="it is no regular file"):
            read_regular(path, 5)


def test_what_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "absent", 5)


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no file has such a name"):
        read_regular(tmp_path / "a\0b", 10)
