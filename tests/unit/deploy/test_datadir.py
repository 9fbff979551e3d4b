"""The data directory of `clusterodm up` is its user's alone."""

import os
import stat
import subprocess
import sys
import tempfile
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
    assert {path.name for path in (tmp_path / "data").iterdir()} == {photo.parent.name}


@pytest.mark.parametrize(
    ("spool", "told"),
    [
        pytest.param(".", "{} is no spool and is not empty (photo.jpg)", id="where it is started"),
        pytest.param("./", "{} is no spool and is not empty (photo.jpg)", id="the same with a slash"),
        pytest.param("../here", "/../here is no spool and is not empty (photo.jpg)", id="by its name"),
        pytest.param("below/..", "{} is no spool and is not empty (below, photo.jpg)", id="without a name at the end"),
        pytest.param("/", "/ is no spool and is not empty (", id="all there is"),
        pytest.param("photo.jpg", "the spool {}/photo.jpg cannot be read: Not a directory", id="a file"),
        pytest.param("gone", "the spool {}/gone cannot be made: {}/gone is a symbolic link", id="a link to nothing"),
        pytest.param("gone/spool", "the spool {}/gone/spool cannot be made: {}/gone is", id="behind a link to nothing"),
        pytest.param("loop", "the spool {}/loop cannot be made: {}/loop is a symbolic link", id="a link to itself"),
        pytest.param("loop/spool", "the spool {}/loop/spool cannot be made: {}/loop is", id="behind a link to itself"),
        pytest.param("photo.jpg/spool", "cannot be written: no rights to write into {}/photo.jpg", id="in a file"),
    ],
)
@pytest.mark.parametrize("proxies", ["1", "2"])
def test_with_a_spool_directory_that_will_not_do_nothing_is_made(tmp_path: Path, spool: str, told: str, proxies: str):
    here = tmp_path / "here"
    here.mkdir()
    (here / "photo.jpg").touch(0o600)
    if spool.startswith("below"):
        (here / "below").mkdir()
    if spool.startswith(("gone", "loop")):
        (here / spool.partition("/")[0]).symlink_to("loop")
    found = set(here.iterdir())
    ran = subprocess.run(
        [sys.executable, "-m", "clusterodm.deploy.cli", "up", *ports(), "--spool-dir", spool, "--proxies", proxies],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (line,) = (ran.stdout + ran.stderr).splitlines()
    assert told.format(here, here) in line
    assert (ran.returncode, set(here.iterdir())) == (1, found)


@pytest.mark.parametrize(
    ("spool", "told"),
    [
        pytest.param(".", "the spool {} would hold the data directory {}/data", id="above the data directory"),
        pytest.param("data", "the spool {}/data would hold the data directory {}/data", id="the data directory"),
        pytest.param("data/nats", "the spool {}/data/nats would lie in {}/data/nats", id="where nats-server writes"),
        pytest.param("data/autoscaler/a", "the spool {}/data/autoscaler/a would lie in {}/data/autoscaler", id="below"),
        pytest.param("link/nats", "the spool {}/link/nats would lie in {}/data/nats", id="by another way"),
    ],
)
def test_a_spool_is_apart_from_all_else_and_nothing_is_made_before_that_is_said(tmp_path: Path, spool: str, told: str):
    if spool.startswith("link"):
        (tmp_path / "data").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "data")
    found = set(tmp_path.iterdir())
    ran = subprocess.run(
        [sys.executable, "-m", "clusterodm.deploy.cli", "up", *ports(), "--spool-dir", spool],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (line,) = (ran.stdout + ran.stderr).splitlines()
    assert told.format(tmp_path, tmp_path) in line
    assert (ran.returncode, set(tmp_path.iterdir())) == (1, found)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        pytest.param(["--tokens", "none"], "--tokens none: No such file or directory", id="tokens"),
        pytest.param(["--asr", "none"], "--asr none: No such file or directory", id="asr"),
        pytest.param(
            ["--ssl-key", "none", "--ssl-cert", "none"], "--ssl-key none: No such file or directory", id="TLS"
        ),
        pytest.param(["--admin-pass-file", "."], "--admin-pass-file .: Is a directory", id="a password"),
        pytest.param(["--access-log", "none/log"], "--access-log none/log: No such file or directory", id="a log"),
        pytest.param(["--bind", "192.0.2.1"], "on 192.0.2.1: Cannot assign requested address", id="an address"),
        pytest.param(
            ["--metrics-bind", "192.0.2.1", "--metrics-port", "19999"],
            "port 19999 (--metrics-port) on 192.0.2.1: Cannot assign requested address",
            id="another address",
        ),
    ],
)
def test_with_a_file_or_an_address_that_will_not_do_nothing_is_made(tmp_path: Path, flags: list[str], told: str):
    words = [sys.executable, "-m", "clusterodm.deploy.cli", "up", *ports(), *flags]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    (line,) = ran.stderr.splitlines()
    assert line.startswith("clusterodm up: ")
    assert line.endswith(told)
    assert (ran.returncode, ran.stdout, list(tmp_path.iterdir())) == (1, "", [])


GONE: Final = """
import os, sys
from clusterodm.deploy import local
os.rmdir(os.getcwd())
sys.exit(local.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        pytest.param([], "data directory data: No such file or directory; choose another with --data-dir", id="data"),
        pytest.param(
            ["--data-dir", "/proc/none", "--spool-dir", "x"], "the spool x: No such file or directory", id="spool"
        ),
    ],
)
def test_a_directory_that_is_gone_while_one_is_in_it_is_one_line(tmp_path: Path, flags: list[str], told: str):
    words = [sys.executable, "-c", GONE, *ports(), *flags]
    (tmp_path / "gone").mkdir()
    ran = subprocess.run(words, cwd=tmp_path / "gone", capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (1, f"clusterodm up: {told}\n")


AS_ANOTHER_USER: Final = """
import os, sys
from clusterodm.deploy import copying, local
program = {"up": local, "copy-nats": copying}[sys.argv[1]]
if not os.getuid():
    os.setuid(65534)
sys.exit(program.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        pytest.param(
            ["up", "--data-dir", "THEIRS"],
            "up: data directory THEIRS: Permission denied; choose another with --data-dir",
            id="up",
        ),
        pytest.param(
            ["up", "--data-dir", "THEIRS", "--token", "t"],
            "up: data directory THEIRS: Permission denied; choose another with --data-dir",
            id="up with a token",
        ),
        pytest.param(
            ["up", "--data-dir", "MINE/data", "--spool-dir", "THEIRS/spool"],
            "up: the spool THEIRS/spool cannot be read: Permission denied",
            id="a spool in there",
        ),
        pytest.param(
            ["up", "--data-dir", "MINE/data", "--spool-dir", "SHOWN/new/spool"],
            "up: the spool SHOWN/new/spool cannot be written: no rights to write into SHOWN",
            id="a spool where one may only look",
        ),
        pytest.param(
            ["copy-nats", "--nats-from", "THEIRS", "--nats-url", "nats://127.0.0.1:1"],
            "copy-nats: --nats-from: data directory THEIRS: Permission denied",
            id="copy-nats",
        ),
    ],
)
def test_a_directory_of_another_user_is_one_line_and_nothing_is_made(flags: list[str], told: str):
    with tempfile.TemporaryDirectory() as name:  # pytest's own keeps other users out
        places = {place: Path(name, place.lower()) for place in ("MINE", "SHOWN", "THEIRS")}
        for (place, folder), bits in zip(places.items(), (0o700, 0o555, 0o000), strict=True):
            folder.mkdir()
            folder.chmod(bits)
            if os.geteuid() == 0 and place == "MINE":
                os.chown(folder, 65534, 65534)
        Path(name).chmod(0o755)
        for place, folder in places.items():
            flags, told = [each.replace(place, str(folder)) for each in flags], told.replace(place, str(folder))
        words = [sys.executable, "-c", AS_ANOTHER_USER, flags[0], *(ports() if flags[0] == "up" else []), *flags[1:]]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"clusterodm {told}\n")
        assert list(places["MINE"].iterdir()) == []


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
