"""How fast passwords may be tried, whose turn it is, and what of wrong ones is told."""

from itertools import pairwise

import pytest

from clusterodm.libs.common.hosts import account_of
from clusterodm.services.admin.login import (
    ADDRESSES_COUNT,
    AT_ONCE_COUNT,
    FORGET_AFTER_S,
    LONGEST_DELAY_S,
    TOLD_COUNT,
    WAITING_COUNT,
    FailedSignIns,
    FairQueue,
    LoginThrottle,
    Turns,
    same,
)
from clusterodm.services.admin.signin.handlers import COUNT_EVERY_S
from clusterodm.services.admin.watching.handlers import EVENTS_COUNT


def judged(logins: LoginThrottle, address: str, at_s: float) -> float:
    """Fail once at the time at which the attempt is judged; that time."""
    wait_s = logins.wait_s(address, at_s)
    assert wait_s is not None
    logins.failed(address, at_s + wait_s)
    return at_s + wait_s


def test_the_first_attempt_is_judged_at_once():
    assert LoginThrottle().wait_s("a", 100.0) == 0


def test_the_delay_grows_with_every_failure_up_to_a_limit():
    logins, at_s = LoginThrottle(), 0.0
    times = [at_s := judged(logins, "a", at_s) for _ in range(8)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == [0.5, 1, 2, 4, LONGEST_DELAY_S, LONGEST_DELAY_S, LONGEST_DELAY_S]


def test_attempts_at_the_same_time_are_judged_one_after_the_other():
    logins = LoginThrottle()
    waits = [logins.wait_s("a", 0.0) for _ in range(4)]
    assert waits == [0, 0.5, 1.0, 1.5]


def test_beyond_the_longest_wait_attempts_are_refused():
    logins = LoginThrottle()
    assert None in [logins.wait_s("a", 0.0) for _ in range(80)]


def test_addresses_do_not_disturb_each_other():
    logins = LoginThrottle()
    for _ in range(5):
        logins.wait_s("a", 0.0)
        logins.failed("a", 0.0)
    assert logins.wait_s("b", 0.0) == 0


def test_the_right_password_clears_the_account():
    logins = LoginThrottle()
    judged(logins, "a", 0.0)
    judged(logins, "a", 1.0)
    logins.succeeded("a")
    assert logins.wait_s("a", 1.1) == 0


def test_failures_are_forgotten_after_a_while():
    logins = LoginThrottle()
    for at_s in range(5):
        judged(logins, "a", float(at_s))
    later_s = 100 + FORGET_AFTER_S
    assert judged(logins, "a", later_s) == later_s
    assert logins.wait_s("a", later_s) == 0.5


def test_the_memory_is_bounded():
    logins = LoginThrottle()
    for number in range(ADDRESSES_COUNT + 50):
        logins.failed(f"10.0.{number // 256}.{number % 256}", 0.0)
    assert len(logins._accounts) == ADDRESSES_COUNT


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        pytest.param("2001:db8::1", "2001:db8::ffff:2", True, id="one IPv6 network"),
        pytest.param("2001:db8::1", "2001:db8:0:1::1", False, id="two IPv6 networks"),
        pytest.param("10.0.0.1", "10.0.0.2", False, id="two IPv4 addresses"),
        pytest.param("fe80::1%eth0", "fe80::2%eth0", True, id="link-local with its zone"),
        pytest.param("?", "?", True, id="unknown"),
    ],
)
def test_an_ipv6_network_is_one_account(one: str, other: str, shared: bool):
    assert (account_of(one) == account_of(other)) is shared


@pytest.mark.parametrize(("given", "right"), [("a", "b"), ("", "a"), ("pässe", "passe"), ("\udcff", "x")])
def test_a_wrong_password_is_not_the_right_one(given: str, right: str):
    assert not same(given, right)
    assert same(right, right)


# --- turns


def joined(queue: FairQueue[str], *waiters: str) -> list[str | None]:
    """Let some wait, each called by its address and a number; who has to give way to each."""
    return [queue.join(waiter, waiter.partition(" ")[0]) for waiter in waiters]


def test_addresses_have_turns_and_of_one_the_first_to_come_is_the_first():
    queue = FairQueue[str]()
    joined(queue, "a 1", "a 2", "a 3", "b 1", "a 4", "c 1", "b 2")
    assert [queue.take() for _ in range(len(queue))] == ["a 1", "b 1", "c 1", "a 2", "b 2", "a 3", "a 4"]


def test_who_comes_late_waits_for_one_of_each_other_address():
    queue = FairQueue[str]()
    joined(queue, *(f"a {number}" for number in range(20)))
    assert [queue.take(), *joined(queue, "b 1"), queue.take(), queue.take()] == ["a 0", None, "a 1", "b 1"]


def test_when_no_more_may_wait_the_last_of_the_address_that_has_most_gives_way():
    queue = FairQueue[str](4)
    assert joined(queue, "a 1", "a 2", "a 3", "b 1") == [None] * 4
    assert joined(queue, "c 1", "a 4") == ["a 3", "a 4"]
    assert joined(queue, "b 2") == ["b 2"], "no other address has more"
    assert [queue.take() for _ in range(len(queue))] == ["a 1", "b 1", "c 1", "a 2"]


def test_an_ipv6_network_has_the_turns_of_one_address():
    queue = FairQueue[str](2)
    assert [queue.join(address, address) for address in ("2001:db8::1", "192.0.2.7", "2001:db8::2")] == [
        None,
        None,
        "2001:db8::2",
    ]


def test_who_waits_no_more_has_no_turn_and_nothing_is_kept_of_it():
    queue = FairQueue[str]()
    joined(queue, "a 1", "a 2", "b 1")
    for each in ("a 1", "b 1", "c 1"):
        queue.leave(each)
    assert [queue.take() for _ in range(len(queue))] == ["a 2"]
    assert queue._queues == {}


def test_no_more_are_begun_than_may_be_and_the_doors_have_turns():
    turns = Turns[str]()
    joined(turns.at("telnet"), *(f"{number} t" for number in range(WAITING_COUNT)))
    assert [turns.begin() for _ in range(AT_ONCE_COUNT + 1)] == ["0 t", "1 t", None]
    joined(turns.at("web"), "a 1", "a 2")
    begun = []
    for _ in range(5):
        turns.end()
        begun.append(turns.begin())
    assert begun == ["a 1", "2 t", "a 2", "3 t", "4 t"]


def test_of_a_door_where_nobody_waits_the_other_has_the_turns():
    turns = Turns[str]()
    joined(turns.at("web"), "a 1")
    assert len(turns.at("telnet")) == 0
    assert [turns.begin(), turns.begin()] == ["a 1", None]
    turns.end()
    joined(turns.at("web"), "a 2", "a 3", "a 4")
    assert [turns.begin() for _ in range(3)] == ["a 2", "a 3", None]


# --- what is told


def test_the_first_few_that_fail_are_told_each_and_the_others_counted():
    failures = FailedSignIns()
    assert [failures.is_told() for _ in range(TOLD_COUNT + 5)] == [True] * TOLD_COUNT + [False] * 5
    assert [failures.take_count(), failures.take_count()] == [5, 0]


def test_who_fails_all_the_time_leaves_the_record_to_others():
    failures, entries_count, told_count = FailedSignIns(), 0, 0
    weeks_rounds_count = round(7 * 24 * 3600 / COUNT_EVERY_S)
    for _ in range(weeks_rounds_count):
        told = sum(failures.is_told() for _ in range(1000))
        counted = failures.take_count()
        entries_count += told + bool(counted)
        told_count += told + counted
    assert told_count == weeks_rounds_count * 1000
    assert entries_count < EVENTS_COUNT / 2


def test_after_a_quiet_while_the_first_few_are_told_again():
    failures = FailedSignIns()
    for _ in range(2 * TOLD_COUNT):
        failures.is_told()
    for _ in range(2 * TOLD_COUNT):
        failures.take_count()
    assert sum(failures.is_told() for _ in range(1000)) == TOLD_COUNT
