"""The way to the data directory: a place where others could exchange it is found, whichever link it hides behind."""

import os
import stat
from pathlib import Path

import pytest

from clusterodm.deploy.ancestors import Place, way_to, weakness, weaknesses
from clusterodm.deploy.datadir import OpenToOthers, doubts, prepare

ME, OTHER, MY_GROUP, STAFF = 1000, 4_000_000, 1000, 4_000_001
DIRECTORY, LINK = stat.S_IFDIR, stat.S_IFLNK


@pytest.mark.parametrize(
    ("mode", "owner", "group", "said"),
    [
        pytest.param(DIRECTORY | 0o755, 0, 0, None, id="root's"),
        pytest.param(DIRECTORY | 0o700, ME, MY_GROUP, None, id="ours"),
        pytest.param(DIRECTORY | 0o775, ME, MY_GROUP, None, id="our own group may write"),
        pytest.param(DIRECTORY | 0o775, 0, 0, None, id="root's group may write"),
        pytest.param(DIRECTORY | 0o1777, 0, 0, None, id="as /tmp"),
        pytest.param(DIRECTORY | 0o1775, 0, STAFF, None, id="sticky, for a group"),
        pytest.param(LINK | 0o777, ME, MY_GROUP, None, id="our link"),
        pytest.param(LINK | 0o777, 0, 0, None, id="root's link"),
        pytest.param(DIRECTORY | 0o777, ME, MY_GROUP, ("every user may write into /p", True), id="everybody"),
        pytest.param(DIRECTORY | 0o777, 0, 0, ("every user may write into /p", True), id="everybody into root's"),
        pytest.param(LINK | 0o777, OTHER, STAFF, (f"/p is a link of the user {OTHER}", True), id="another's link"),
        pytest.param(DIRECTORY | 0o775, 0, STAFF, (f"the group {STAFF} may write", False), id="a group"),
        pytest.param(DIRECTORY | 0o755, OTHER, STAFF, (f"/p belongs to the user {OTHER}", False), id="another's"),
        pytest.param(DIRECTORY | 0o1777, OTHER, STAFF, (f"/p belongs to the user {OTHER}", False), id="another's /tmp"),
    ],
)
def test_a_place_is_judged_by_who_may_rename_what_lies_in_it(
    mode: int, owner: int, group: int, said: tuple[str, bool] | None
):
    found = weakness(Place(Path("/p"), mode, owner, group), ME, frozenset({0, MY_GROUP}))
    assert (found is None) == (said is None)
    if found and said:
        assert found.reason.startswith(said[0])
        assert found.grave is said[1]


def names(folder: Path, below: Path) -> list[str]:
    return [str(each.path.relative_to(below)) for each in way_to(folder) if below in each.path.parents]


def test_the_way_goes_through_every_link_and_back(tmp_path: Path):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "relative").symlink_to("absolute/deep/../deep")
    (tmp_path / "relative" / "data").mkdir()
    assert names(tmp_path / "real" / "deep", tmp_path) == ["real"]
    assert names(tmp_path / "relative" / "data", tmp_path) == [
        "relative",
        "absolute",
        "real",
        "real/deep",
        "real/deep",
    ]


def test_a_circle_of_links_is_no_way(tmp_path: Path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        weaknesses(tmp_path / "a" / "data")


def test_a_data_directory_below_one_that_everybody_may_write_into_is_refused(tmp_path: Path):
    tmp_path.chmod(0o777)
    with pytest.raises(OpenToOthers, match=f"every user may write into {tmp_path}.*--data-dir"):
        prepare(tmp_path / "data")
    tmp_path.chmod(0o1777)
    prepare(tmp_path / "data")
    assert doubts(tmp_path / "data") == []


def test_one_that_only_a_link_leads_into_is_refused_too(tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "real").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open" / "real")
    with pytest.raises(OpenToOthers, match=f"every user may write into {tmp_path / 'open'}"):
        prepare(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives things away")
def test_another_users_link_is_refused_and_another_users_directory_is_mentioned(tmp_path: Path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", OTHER, STAFF)
    prepare(tmp_path / "theirs" / "data")
    [doubt] = doubts(tmp_path / "theirs" / "data")
    assert doubt.startswith(f"{tmp_path / 'theirs'} belongs to the user {OTHER}")
    (tmp_path / "link").symlink_to(tmp_path / "theirs" / "data")
    os.chown(tmp_path / "link", OTHER, STAFF, follow_symlinks=False)
    with pytest.raises(OpenToOthers, match="is a link of the user"):
        prepare(tmp_path / "link")
