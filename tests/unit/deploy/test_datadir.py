"""The data directory of `clusterodm up` is its user's alone."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from clusterodm.deploy.datadir import OpenToOthers, mended, prepare, shared_by_others


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def left_open(folder: Path) -> Path:
    """Make a data directory as an earlier version left it."""
    for name in ("nats", "spool", "spool-2", "autoscaler"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
        (folder / name / "file").chmod(0o644)
        (folder / name).chmod(0o755)
    for name in ("spool", "spool-2"):
        (folder / name / "file").rename(folder / name / "instance")
    (folder / "up.lock").touch(0o600)
    folder.chmod(0o755)
    return folder


def test_one_of_an_earlier_version_is_closed(tmp_path: Path):
    folder = left_open(tmp_path)
    assert mended(folder) == 9
    assert {mode(path) for path in (folder, *folder.rglob("*"))} == {0o700, 0o600}
    assert mended(folder) == 0


def test_where_others_keep_things_too_only_what_is_ours_is_closed(tmp_path: Path):
    folder = left_open(tmp_path)
    (folder / "theirs").mkdir()
    (folder / "theirs").chmod(0o755)
    assert mended(folder) == 8
    assert (mode(folder), mode(folder / "theirs"), mode(folder / "spool")) == (0o755, 0o755, 0o700)


@pytest.mark.parametrize("name", ["spool", "spool-2", "spool-photos"])
def test_what_is_called_like_a_spool_and_is_none_is_left_alone(tmp_path: Path, name: str):
    folder = left_open(tmp_path)
    with_photo = folder / name
    with_photo.mkdir(exist_ok=True)
    (with_photo / "instance").unlink(missing_ok=True)
    photo = with_photo / "11111111-2222-4333-8444-555555555555"
    photo.write_text("x")
    for path, bits in ((photo, 0o644), (with_photo, 0o755)):
        path.chmod(bits)
    mended(folder)
    assert (mode(folder), mode(with_photo), mode(photo), mode(folder / "nats")) == (0o755, 0o755, 0o644, 0o700)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param([], id="the usual one"),
        pytest.param(["--spool-dir", "data/elsewhere"], id="one that is named"),
        pytest.param(["--spool-dir", "data/first", "--proxies", "2"], id="of the second proxy"),
    ],
)
def test_a_spool_directory_that_is_none_is_refused_before_anything_is_started(tmp_path: Path, flags: list[str]):
    names = {"data/elsewhere": "elsewhere", "data/first": "first-2"}
    photo = tmp_path / "data" / names.get("".join(flags[1:2]), "spool") / "photo.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_text("x")
    for path in (photo, photo.parent):
        path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "clusterodm.deploy.cli", "up", *ports(), *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.endswith("is no spool and is not empty (photo.jpg): give the proxy a directory of its own")
    assert (done.returncode, mode(photo), mode(photo.parent)) == (1, 0o755, 0o755)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"up.lock", photo.parent.name}


def ports() -> list[str]:
    """Name ports that are free, should it start after all."""
    return ["--port", "0", "--admin-cli-port", "0", "--admin-web-port", "0"]


def test_a_directory_that_others_may_change_is_refused(tmp_path: Path):
    folder = left_open(tmp_path)
    (folder / "theirs").mkdir()
    folder.chmod(0o777)

    with pytest.raises(OpenToOthers, match="chmod 700 it, or name another"):
        prepare(folder)

    assert {path.name for path in folder.iterdir()} == {"theirs", "up.lock", "nats", "spool", "spool-2", "autoscaler"}


def test_one_that_holds_only_ours_is_closed_instead(tmp_path: Path):
    folder = left_open(tmp_path)
    folder.chmod(0o777)
    prepare(folder)
    mended(folder)
    assert mode(folder) == 0o700


def test_one_with_the_sticky_bit_is_used_and_said(tmp_path: Path):
    (tmp_path / "theirs").mkdir()
    tmp_path.chmod(0o1777)
    prepare(tmp_path)
    assert shared_by_others(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_another_user_has_put_in_our_place_is_refused(tmp_path: Path):
    (tmp_path / "nats").mkdir()
    os.chown(tmp_path / "nats", 12345, -1)
    prepare(tmp_path)
    tmp_path.chmod(0o1777)
    with pytest.raises(OpenToOthers, match="nats belongs to another user"):
        prepare(tmp_path)


UP: Final = """
import resource, sys
from clusterodm.deploy.cli import main
if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.exit(main(["up", "--port=0", "--admin-cli-port=0", "--admin-web-port=0", "--data-dir", sys.argv[2]]))
"""


def up(disk: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run `clusterodm up`."""
    words = [sys.executable, "-c", UP, disk, str(folder)]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


def test_a_disk_that_takes_nothing_is_one_line(tmp_path: Path):
    ran = up("full", tmp_path / "data")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    assert ran.stderr.startswith(f"clusterodm up: cannot write {tmp_path / 'data' / 'up.lock'}: ")


def test_an_open_directory_is_wrong_usage(tmp_path: Path):
    (tmp_path / "theirs").mkdir()
    tmp_path.chmod(0o777)
    ran = up("", tmp_path)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1)


IGNORED: Final = """
import signal, sys
from clusterodm.deploy import local
local.main(["--port=0", "--data-dir=/proc/none"])
print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
"""


def test_up_leaves_a_signal_ignored_that_nohup_has_ignored():
    ran = subprocess.run(
        ["nohup", sys.executable, "-c", IGNORED], capture_output=True, text=True, timeout=30, check=True
    )
    assert ran.stdout.split() == ["True"]
