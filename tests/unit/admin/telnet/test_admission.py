"""Which telnet sessions there may be at the same time."""

from clusterodm.libs.common.clocks import Instant
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.telnet.core.admission import SILENT_S, Admission

START = Instant(1000.0)
OPERATOR, STRANGER = "192.0.2.1", "198.51.100.7"


def test_any_number_of_strangers_takes_no_place_of_who_has_logged_in() -> None:
    admission: Admission[str] = Admission(2, 4, 16)
    for number in range(100):
        admission.connect(f"stranger {number}", f"198.51.100.{number}", START)
    assert admission.connect("operator", OPERATOR, START) is not None
    assert admission.log_in("operator", Role.ADMIN, START) == (True, None)


def test_one_more_of_an_address_ends_the_oldest_of_that_address() -> None:
    admission: Admission[int] = Admission(2, 2, 16)
    assert [admission.connect(number, STRANGER, START) for number in range(4)] == [None, None, 0, 1]
    assert admission.connect(9, OPERATOR, START) is None


def test_an_operator_gets_in_from_an_address_that_holds_silent_sessions() -> None:
    admission: Admission[str] = Admission(2, 4, 16)
    for number in range(32):
        admission.connect(f"silent {number}", OPERATOR, START)
    assert admission.connect("operator", OPERATOR, START) == "silent 28"
    assert admission.log_in("operator", Role.ADMIN, START) == (True, None)


def test_a_whole_ipv6_network_is_one_address() -> None:
    admission: Admission[int] = Admission(2, 2, 16)
    assert [admission.connect(number, f"2001:db8::{number}", START) for number in range(3)] == [None, None, 0]


def test_with_too_many_in_all_the_address_with_the_most_gives_way() -> None:
    admission: Admission[str] = Admission(2, 3, 4)
    for key, address in [("a1", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c")]:
        assert admission.connect(key, address, START) is None
    assert admission.connect("d1", "d", START) == "b1"


def test_when_all_places_are_taken_who_was_silent_for_longest_gives_way() -> None:
    admission: Admission[str] = Admission(2)
    for key in ("first", "second"):
        admission.connect(key, OPERATOR, START)
        assert admission.log_in(key, Role.ADMIN, START) == (True, None)
    admission.touch("first", START + 5)
    admission.connect("third", OPERATOR, START)
    assert admission.log_in("third", Role.ADMIN, START + SILENT_S) == (True, "second")


def test_who_speaks_keeps_the_place() -> None:
    admission: Admission[str] = Admission(1)
    admission.connect("first", OPERATOR, START)
    admission.log_in("first", Role.ADMIN, START)
    admission.touch("first", START + SILENT_S)
    admission.connect("second", OPERATOR, START)
    assert admission.log_in("second", Role.ADMIN, START + SILENT_S + 1) == (False, None)
    admission.leave("first")
    assert admission.log_in("second", Role.ADMIN, START + SILENT_S + 1) == (True, None)


def test_who_may_do_more_comes_in_before_those_who_may_do_less() -> None:
    admission: Admission[str] = Admission(3)
    for key, role in (("viewer 1", Role.VIEWER), ("operator", Role.OPERATOR), ("viewer 2", Role.VIEWER)):
        admission.connect(key, OPERATOR, START)
        assert admission.log_in(key, role, START) == (True, None)
    admission.touch("viewer 1", Instant(START + 5))
    for key, role, ended in (
        ("viewer 3", Role.VIEWER, (False, None)),
        ("admin 1", Role.ADMIN, (True, "viewer 2")),
        ("operator 2", Role.OPERATOR, (True, "viewer 1")),
        ("operator 3", Role.OPERATOR, (False, None)),
        ("admin 2", Role.ADMIN, (True, "operator")),
    ):
        admission.connect(key, STRANGER, START)
        assert admission.log_in(key, role, Instant(START + 10)) == ended
