"""What lies on the disk is its user's alone."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from clusterodm.deploy.settings import UpSettings, read
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.files import (
    exposed_files,
    keep_private,
    make_private,
    mend,
    open_to_others,
    read_regular,
)
from clusterodm.libs.common.settings.settings import CommonSettings
from clusterodm.libs.common.telemetry.log import warn_of_exposed
from clusterodm.services.admin.settings import AdminSettings
from clusterodm.services.proxy.settings import ProxySettings


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


def left(folder: Path, bits: int, name: str = "pass") -> Path:
    path = folder / name
    path.write_text("secret")
    path.chmod(bits)
    return path


@pytest.mark.parametrize(
    ("bits", "is_open"),
    [(0o600, False), (0o400, False), (0o700, False), (0o644, True), (0o604, True), (0o640, True), (0o602, True)],
    ids=oct,
)
def test_a_file_that_others_may_read_or_change_is_told(shared_folder: Path, bits: int, is_open: bool):
    path = left(shared_folder, bits)
    assert open_to_others(str(path)) is is_open
    (shared_folder / "link").symlink_to(path)
    assert open_to_others(str(shared_folder / "link")) is is_open


def test_behind_a_directory_that_others_may_not_enter_a_file_is_not_open(shared_folder: Path):
    private = shared_folder / "private"
    (private / "below").mkdir(parents=True)
    path = left(private / "below", 0o644)
    assert open_to_others(str(path))
    private.chmod(0o700)
    assert not open_to_others(str(path))
    (shared_folder / "link").symlink_to(path)
    assert not open_to_others(str(shared_folder / "link"))


def test_what_is_no_file_is_not_told(shared_folder: Path):
    os.mkfifo(shared_folder / "pipe", 0o666)
    (shared_folder / "pipe").chmod(0o666)
    for name in ("pipe", "missing", "", "a\0b"):
        assert not open_to_others(str(shared_folder / name))


FLAGS = {
    "--ssl-key": ProxySettings,
    "--tokens": ProxySettings,
    "--admin-pass-file": AdminSettings,
    "--admin-operator-pass-file": AdminSettings,
    "--admin-viewer-pass-file": AdminSettings,
}


@pytest.mark.parametrize(("name", "settings"), FLAGS.items(), ids=FLAGS)
@pytest.mark.parametrize("program", ["alone", "up"])
def test_every_flag_that_names_a_file_with_a_secret_is_looked_at(
    name: str, settings: type[CommonSettings], program: str, shared_folder: Path
):
    more = {"ssl_cert": "cert.pem"} if name == "--ssl-key" else {}
    path = left(shared_folder, 0o644)
    given = (UpSettings if program == "up" else settings)(**{name[2:].replace("-", "_"): str(path)}, **more)
    assert exposed_files(given) == [(name, str(path))]
    path.chmod(0o600)
    assert exposed_files(given) == []


@pytest.mark.parametrize(
    ("content", "is_told"),
    [
        ({"token": "t"}, True),
        ({"admin-pass": "x"}, True),
        ({"node": ["a:3000:t"]}, True),
        ({"port": 3000, "splitmerge": True}, False),
    ],
    ids=str,
)
def test_a_file_of_settings_counts_when_it_holds_a_secret(
    content: dict[str, object], is_told: bool, shared_folder: Path
):
    path = left(shared_folder, 0o644, "config.json")
    path.write_text(json.dumps(content))
    told = [("--config", str(path))] if is_told else []
    assert exposed_files(read([f"--config={path}", "--port=0"])) == told


def test_what_is_exposed_is_a_line_of_the_log_with_flag_and_file(shared_folder: Path):
    path = left(shared_folder, 0o644)
    with capture_logs() as lines:
        warn_of_exposed(AdminSettings(admin_pass_file=str(path)))
    assert lines == [
        {
            "event": "secret.exposed",
            "log_level": "warning",
            "flag": "--admin-pass-file",
            "path": str(path),
            "reason": "other users may read it: chmod 600",
        }
    ]
