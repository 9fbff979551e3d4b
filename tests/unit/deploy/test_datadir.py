"""The data directory of `clusterodm up` is its user's alone."""

import stat
from pathlib import Path

from deploy.datadir import mended


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def left_open(folder: Path) -> Path:
    """Make a data directory as an earlier version left it."""
    for name in ("nats", "spool", "spool-2", "autoscaler"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
        (folder / name / "file").chmod(0o644)
        (folder / name).chmod(0o755)
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
