"""uploads/core.py and options/check.py: small rules of a new task."""

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.services.proxy.options.check import check_seed, rewrite_split
from clusterodm.services.proxy.uploads.core import SLOW_DOWN, check_flood, task_id

FRESH = "11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize("version", "1234567")
@pytest.mark.parametrize("upper", [False, True])
def test_a_clients_uuid_is_taken_as_written(version: str, upper: bool):
    uuid = f"abcdef01-2345-{version}789-8abc-def012345678"
    uuid = uuid.upper() if upper else uuid
    assert task_id(uuid, FRESH) == uuid


@pytest.mark.parametrize("header", [None, ""])
def test_without_a_uuid_the_fresh_one_is_taken(header: str | None):
    assert task_id(header, FRESH) == FRESH


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("not-a-uuid", id="words"),
        pytest.param("00000000-0000-0000-0000-000000000000", id="nil"),
        pytest.param("abcdef01-2345-8789-8abc-def012345678", id="version 8"),
        pytest.param("abcdef01-2345-4789-cabc-def012345678", id="variant"),
        pytest.param("abcdef01-2345-4789-8abc-def012345678\n", id="line break"),
        pytest.param("{abcdef01-2345-4789-8abc-def012345678}", id="braces"),
    ],
)
def test_what_is_no_uuid_is_refused_and_echoed(header: str | None):
    with pytest.raises(Refused) as refused:
        task_id(header, FRESH)
    assert refused.value.message == f"Invalid set-uuid: {header}"


def test_the_owner_does_not_reveal_the_token():
    assert "secret" not in owner_of("secret")
    assert owner_of("secret") == owner_of("secret") != owner_of("other")


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_is_the_nameless_owner(token: str | None):
    assert owner_of(token) == ""


@pytest.mark.parametrize(
    ("open_count", "limit", "refused"),
    [
        pytest.param(2, 2, True, id="third of two"),
        pytest.param(1, 2, False, id="second of two"),
        pytest.param(50, 0, False, id="no limit"),
        pytest.param(0, 1, False, id="first"),
    ],
)
def test_the_flood_limit_counts_open_uploads_of_one_owner(open_count: int, limit: int, refused: bool):
    if refused:
        with pytest.raises(Refused) as error:
            check_flood(open_count, limit)
        assert error.value.message == SLOW_DOWN
    else:
        check_flood(open_count, limit)


SPLIT, DSM, MINE = OptionValue("split", 400), OptionValue("dsm", True), OptionValue("sm-cluster", "http://evil/")


@pytest.mark.parametrize(
    ("options", "enabled", "token", "expected"),
    [
        pytest.param([DSM, SPLIT], True, "", [DSM, SPLIT, OptionValue("sm-cluster", "http://c:3000/")], id="added"),
        pytest.param([MINE, SPLIT], True, "", [OptionValue("sm-cluster", "http://c:3000/"), SPLIT], id="overwritten"),
        pytest.param([MINE], True, "", [OptionValue("sm-cluster", "http://c:3000/")], id="overwritten without split"),
        pytest.param(
            [SPLIT],
            True,
            "a&b c",
            [SPLIT, OptionValue("sm-cluster", "http://c:3000/?token=a%26b%20c")],
            id="token is escaped",
        ),
        pytest.param([DSM], True, "t", [DSM], id="no split"),
        pytest.param([SPLIT, MINE], False, "t", [SPLIT], id="not served"),
    ],
)
def test_sm_cluster_points_to_the_cluster(
    options: list[OptionValue], enabled: bool, token: str, expected: list[OptionValue]
):
    assert rewrite_split(options, enabled=enabled, address="http://c:3000", token=token) == tuple(expected)


def test_a_seed_is_refused_where_split_merge_is_not_served():
    check_seed(True, enabled=True)
    check_seed(False, enabled=False)
    with pytest.raises(Refused, match="Cannot use this node as a split-merge cluster"):
        check_seed(True, enabled=False)
