"""spool/adapters/contents.py: whether a directory is a spool, or may become one."""

from pathlib import Path

import pytest

from clusterodm.services.proxy.errors import SpoolRefused
from clusterodm.services.proxy.spool.adapters.contents import foreign, require_own

TASK = "11111111-2222-4333-8444-555555555555"


def made(root: Path, *names: str) -> Path:
    """Make files, and directories where a name ends in a slash; each file but the lock holds something."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.write_text("" if name == "lock" else "x")
    return root


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([], id="empty"),
        pytest.param(["lost+found/"], id="a new disk"),
        pytest.param(["instance", "photo.jpg", "lock"], id="a spool into which somebody has put something"),
        pytest.param(["lock", "room", f".{'a' * 32}", ".instance-1f"], id="one that was not finished"),
        pytest.param(["lock", f"{TASK}/"], id="its instance is lost, an empty task"),
        pytest.param(
            ["lock", *(f"{TASK}/{name}" for name in ("files/a.jpg", "parts/1", "draft.json", "submitted.mark", ".x"))],
            id="its instance is lost, a task",
        ),
    ],
)
def test_what_is_a_spool_or_may_become_one_is_taken(tmp_path: Path, names: list[str]) -> None:
    assert foreign(made(tmp_path, *names)) == []


def test_what_is_not_there_may_become_one(tmp_path: Path) -> None:
    require_own(tmp_path / "new" / "spool")


@pytest.mark.parametrize(
    ("names", "strange"),
    [
        pytest.param(["b.jpg", "a.jpg"], ["a.jpg", "b.jpg"], id="photos"),
        pytest.param(["room"], ["room"], id="a file called room"),
        pytest.param([TASK, f"{TASK[:-1]}6.jpg"], [TASK, f"{TASK[:-1]}6.jpg"], id="files called by ids"),
        pytest.param([f"{TASK}/files/a.jpg"], [TASK], id="a directory called by an id"),
        pytest.param(["lock", TASK], [TASK], id="a file called like a task, beside a lock"),
        pytest.param(["lock", f"{TASK}/a.jpg"], [TASK], id="a directory of photos called like a task, beside a lock"),
        pytest.param(["lock", "a.jpg"], ["a.jpg"], id="photos beside a lock"),
        pytest.param(["lock/", "room"], ["lock", "room"], id="a directory called lock"),
    ],
)
def test_what_holds_other_things_is_refused(tmp_path: Path, names: list[str], strange: list[str]) -> None:
    assert foreign(made(tmp_path, *names)) == strange
    with pytest.raises(SpoolRefused, match=f"{tmp_path} is no spool and is not empty \\({strange[0]}"):
        require_own(tmp_path)


def test_a_file_in_its_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("x")
    with pytest.raises(SpoolRefused, match="spool cannot be read: Not a directory"):
        require_own(tmp_path / "spool")
