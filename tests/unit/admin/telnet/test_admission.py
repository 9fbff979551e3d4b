"""Which telnet sessions there may be at the same time."""

from libs.common.clocks import Instant
from services.admin.telnet.core.admission import SILENT_S, Admission

START = Instant(1000.0)
OPERATOR, STRANGER = "192.0.2.1", "198.51.100.7"


def test_any_number_of_strangers_takes_no_place_of_who_has_logged_in() -> None:
    admission: Admission[str] = Admission(2, 4, 16)
    for number in range(100):
        admission.arrive(f"stranger {number}", f"198.51.100.{number}", START)
    assert admission.arrive("operator", OPERATOR, START) is not None
    assert admission.enter("operator", START) == (True, None)


def test_one_more_of_an_address_ends_the_oldest_of_that_address() -> None:
    admission: Admission[int] = Admission(2, 2, 16)
    assert [admission.arrive(number, STRANGER, START) for number in range(4)] == [None, None, 0, 1]
    assert admission.arrive(9, OPERATOR, START) is None


def test_an_operator_gets_in_from_an_address_that_holds_silent_sessions() -> None:
    admission: Admission[str] = Admission(2, 4, 16)
    for number in range(32):
        admission.arrive(f"silent {number}", OPERATOR, START)
    assert admission.arrive("operator", OPERATOR, START) == "silent 28"
    assert admission.enter("operator", START) == (True, None)


def test_a_whole_ipv6_network_is_one_address() -> None:
    admission: Admission[int] = Admission(2, 2, 16)
    assert [admission.arrive(number, f"2001:db8::{number}", START) for number in range(3)] == [None, None, 0]


def test_with_too_many_in_all_the_address_with_the_most_gives_way() -> None:
    admission: Admission[str] = Admission(2, 3, 4)
    for key, address in [("a1", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c")]:
        assert admission.arrive(key, address, START) is None
    assert admission.arrive("d1", "d", START) == "b1"


def test_when_all_places_are_taken_who_was_silent_for_longest_gives_way() -> None:
    admission: Admission[str] = Admission(2)
    for key in ("first", "second"):
        admission.arrive(key, OPERATOR, START)
        assert admission.enter(key, START) == (True, None)
    admission.hear("first", START + 5)
    admission.arrive("third", OPERATOR, START)
    assert admission.enter("third", START + SILENT_S) == (True, "second")


def test_who_speaks_keeps_the_place() -> None:
    admission: Admission[str] = Admission(1)
    admission.arrive("first", OPERATOR, START)
    admission.enter("first", START)
    admission.hear("first", START + SILENT_S)
    admission.arrive("second", OPERATOR, START)
    assert admission.enter("second", START + SILENT_S + 1) == (False, None)
    admission.leave("first")
    assert admission.enter("second", START + SILENT_S + 1) == (True, None)
