"""tests/order.py: what takes long begins first, and a file stays together where its tests share something."""

from tests import order

SLOW = "tests/e2e/test_lifecycle.py::test_slow"
FAST = "tests/e2e/test_lifecycle.py::test_fast"
UNIT = "tests/unit/test_order.py::test_this"
NEW = "tests/integration/test_lost_store.py::test_new"


def test_what_takes_long_begins_first_and_what_is_not_known_yet_before_what_is_fast():
    nodeids = [UNIT, NEW, FAST, SLOW]
    places = order.longest_first(nodeids, {SLOW: 30.0, FAST: 3.0})
    assert [nodeids[place] for place in places] == [SLOW, NEW, FAST, UNIT]


def test_tests_of_one_file_keep_their_order_and_stay_together():
    nodeids = [f"tests/unit/{file}.py::test_{number}" for number in range(3) for file in ("b", "a")]
    places = order.longest_first(nodeids, {})
    assert [nodeids[place][11:] for place in places] == [
        f"{file}.py::test_{number}" for file in ("a", "b") for number in range(3)
    ]


def test_tests_that_take_seconds_are_spread_unless_they_share_a_fixture():
    assert order.unit_of(SLOW) == SLOW
    assert order.unit_of(UNIT) == "tests/unit/test_order.py"
    assert order.unit_of("tests/integration/test_spot.py::test_x[a::b]") == "tests/integration/test_spot.py"
    assert order.unit_of("tests/integration/test_nats_users.py::test_x") == "tests/integration/test_nats_users.py"


def test_the_fixtures_that_a_folder_shares_are_found_by_their_scope():
    assert set(order.fixtures_of(order.TESTS)) == {"seaweed"}
    assert order.fixtures_of(order.TESTS / "integration") == ("urls",)
    assert not order.fixtures_of(order.TESTS / "chaos")


def test_durations_are_read_as_they_were_written_and_the_fast_ones_left_out():
    text = order.written({SLOW: 30.4, FAST: 0.5, f"{NEW}[with words]": 120.0})
    assert text.splitlines() == [f"120 {NEW}[with words]", f"30 {SLOW}"]
    assert order.read_durations(text) == {f"{NEW}[with words]": 120.0, SLOW: 30.0}
