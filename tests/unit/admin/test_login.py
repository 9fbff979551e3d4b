"""How fast passwords may be tried."""

from itertools import pairwise

import pytest

from clusterodm.libs.common.hosts import account_of
from clusterodm.services.admin.login import ADDRESSES_COUNT, FORGET_AFTER_S, LONGEST_DELAY_S, LoginThrottle, same


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
