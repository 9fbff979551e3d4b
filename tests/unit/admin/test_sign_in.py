"""Signing in, when many do so at once, or somebody again and again: no hashes, sessions or sign-ins of others go for it."""

import asyncio
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords, hashed
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.signin.adapters import OidcProvider
from clusterodm.services.admin.signin.core import (
    LONGEST_WANTED_COUNT,
    PENDING_S,
    SESSIONS_COUNT,
    SESSIONS_PER_USER_COUNT,
    SignInFailed,
    WebSessions,
    state_of,
    wanted_of,
)
from clusterodm.services.admin.signin.handlers import TOO_MANY, TOO_OFTEN, UNKNOWN, WAITING_COUNT, SignIns, compared
from tests.waiting import until

NOW = Instant(1000.0)
KEY = b"k" * 32
ADDRESS = "192.0.2.7"


# --- passwords


async def test_however_many_sign_in_at_once_two_hashes_are_worked_out_at_a_time() -> None:
    passwords, lock, go_on = Passwords({Role.ADMIN: hashed("right", b"s" * 16)}), threading.Lock(), threading.Event()
    began: list[int] = []

    def compare(number: int) -> Role | None:
        with lock:
            began.append(number)
        go_on.wait(20)
        return Role.ADMIN

    loop = asyncio.get_running_loop()
    comparing = [loop.create_task(compared(passwords, partial(compare, number))) for number in range(20)]
    try:
        await until(lambda: len(began) == 2)
        gone = comparing[2:18]
        for each in gone:
            each.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert len(began) == 2
    finally:
        go_on.set()
    assert await asyncio.gather(*comparing[:2], *comparing[18:]) == [Role.ADMIN] * 4
    assert sorted(began) == [0, 1, 18, 19], "what nobody waits for any more is left out"


async def test_what_is_set_as_it_is_takes_no_thread() -> None:
    passwords = Passwords({Role.ADMIN: "right"})
    here = threading.get_ident()
    assert await compared(passwords, lambda: Role.ADMIN if threading.get_ident() == here else None) is Role.ADMIN


def wrong_ones(signins: SignIns) -> list[asyncio.Task[Role | None]]:
    """Let somebody try a wrong password from many addresses at once."""
    loop = asyncio.get_running_loop()
    return [loop.create_task(signins.judge("admin", "wrong", f"10.0.0.{number}")) for number in range(WAITING_COUNT)]


async def test_no_more_wait_behind_wrong_passwords_than_may_and_others_sign_in() -> None:
    signins = SignIns(MemoryBus(), Passwords({Role.ADMIN: "right"}), LoginThrottle())
    for number in range(WAITING_COUNT):
        await signins.judge("admin", "wrong", f"10.0.0.{number}")
    waiting = wrong_ones(signins)
    try:
        await asyncio.sleep(0)
        with pytest.raises(SignInFailed, match=TOO_OFTEN):
            await signins.judge("admin", "wrong", "10.0.0.1")
        assert await signins.judge("admin", "right", ADDRESS) is Role.ADMIN
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_no_more_wait_for_a_hash_than_may_and_who_was_right_before_does_not() -> None:
    signins = SignIns(MemoryBus(), Passwords({Role.ADMIN: hashed("right", b"s" * 16)}), LoginThrottle())
    assert await signins.judge("admin", "right", ADDRESS) is Role.ADMIN
    waiting = wrong_ones(signins)
    try:
        await asyncio.sleep(0)
        with pytest.raises(SignInFailed, match=TOO_MANY):
            await signins.judge("admin", "wrong", "10.0.1.1")
        assert await signins.judge("admin", "right", "10.0.1.2") is Role.ADMIN
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


# --- sessions


def test_who_signs_in_again_and_again_ends_sessions_of_nobody_else() -> None:
    sessions = WebSessions(longest_s=1e6)
    sessions.begin("admin's", "f", "admin", Role.ADMIN, NOW)
    for number in range(SESSIONS_COUNT + 10):
        sessions.begin(str(number), "f", "viewer", Role.VIEWER, NOW)
    assert sessions.find("admin's", NOW) is not None
    there = [number for number in range(SESSIONS_COUNT + 10) if sessions.find(str(number), NOW)]
    assert there == list(range(SESSIONS_COUNT + 10 - SESSIONS_PER_USER_COUNT, SESSIONS_COUNT + 10))


def test_of_a_users_sessions_the_one_that_was_silent_for_the_longest_ends() -> None:
    sessions = WebSessions(longest_s=1e6)
    for number in range(SESSIONS_PER_USER_COUNT):
        sessions.begin(str(number), "f", "ann", Role.VIEWER, NOW)
    sessions.find("0", NOW)
    sessions.begin("more", "f", "ann", Role.VIEWER, NOW)
    assert [sessions.find(each, NOW) is not None for each in ("0", "1", "2", "more")] == [True, False, True, True]


def test_there_are_no_more_sessions_than_may_be_and_whoever_has_most_gives_way() -> None:
    sessions = WebSessions(longest_s=1e6)
    for number in range(SESSIONS_COUNT - 3):
        sessions.begin(f"user {number}", "f", f"user {number}", Role.VIEWER, NOW)
    for number in range(3):
        sessions.begin(f"ann {number}", "f", "ann", Role.VIEWER, NOW)
    sessions.begin("newest", "f", "new", Role.VIEWER, NOW)
    ended = [each for each in ("user 0", "ann 0", "ann 1", "ann 2", "newest") if sessions.find(each, NOW) is None]
    assert ended == ["ann 0"]


# --- the identity provider


class Provider:
    """One that takes its time, and lets in whoever brings `good`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def begin(self, state: str, nonce: str, verifier: str) -> str:
        self.asked.append((nonce, verifier))
        await self.answers.wait()
        return state

    async def finish(self, code: str, nonce: str, verifier: str) -> Mapping[str, Any]:
        self.asked.append((nonce, verifier))
        await self.answers.wait()
        if code != "good":
            raise SignInFailed("The identity provider did not accept the sign-in.")
        return {"sub": "ann", "groups": ["staff"]}


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def signins(bus: MemoryBus, provider: Provider) -> SignIns:
    return SignIns(bus, Passwords(), LoginThrottle(), provider, "groups", {"staff": Role.OPERATOR})


async def test_no_number_of_others_that_begin_pushes_a_sign_in_out(signins: SignIns, provider: Provider) -> None:
    state = await signins.to_provider("my browser", "/tasks?x=1 2")
    for number in range(3000):
        await signins.to_provider(f"browser {number}", "/")
    begun, wanted = await signins.from_provider(state, "good", "my browser", ADDRESS)
    assert (begun.session.name, begun.session.role, wanted) == ("ann", Role.OPERATOR, "/tasks?x=1 2")
    assert provider.asked[0] == provider.asked[-1], "the same nonce and verifier as at the beginning"
    assert len(set(provider.asked)) == 3001
    assert all(len(verifier) >= 43 for _, verifier in provider.asked), "RFC 7636, 4.1"


@pytest.mark.parametrize("browser", ["", "another browser"])
async def test_a_sign_in_is_known_to_its_browser_alone(signins: SignIns, browser: str) -> None:
    state = await signins.to_provider("my browser", "/")
    with pytest.raises(SignInFailed, match=UNKNOWN):
        await signins.from_provider(state, "good", browser, ADDRESS)


@pytest.mark.parametrize("spoilt", ["", ".", "x", "{}x", "x{}", "{}.", "{}.{}"])
async def test_a_state_that_is_not_ours_is_not_known(signins: SignIns, spoilt: str) -> None:
    state = await signins.to_provider("my browser", "/")
    with pytest.raises(SignInFailed, match=UNKNOWN):
        await signins.from_provider(spoilt.replace("{}", state), "good", "my browser", ADDRESS)


def test_a_sign_in_takes_no_longer_than_it_may() -> None:
    state = state_of(KEY, "browser", "/nodes", "chance", NOW)
    assert wanted_of(KEY, "browser", state, Instant(NOW + PENDING_S)) == "/nodes"
    assert wanted_of(KEY, "browser", state, Instant(NOW + PENDING_S + 1)) is None
    assert wanted_of(b"another", "browser", state, NOW) is None


def test_a_long_way_back_is_not_sent_around() -> None:
    state = state_of(KEY, "browser", "/" + "x" * LONGEST_WANTED_COUNT, "chance", NOW)
    assert wanted_of(KEY, "browser", state, NOW) == "/"


async def test_who_the_provider_does_not_let_in_is_put_on_record_once_a_while(signins: SignIns, bus: MemoryBus) -> None:
    for _ in range(30):
        state = await signins.to_provider("browser", "/")
        with pytest.raises(SignInFailed, match="did not accept"):
            await signins.from_provider(state, "bad", "browser", ADDRESS)
    [(_, told)] = bus.published
    assert (told.act, told.outcome, told.address) == ("SIGN IN", "failed", ADDRESS)


async def test_no_more_wait_for_a_provider_than_may(signins: SignIns, provider: Provider) -> None:
    provider.answers.clear()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        waiting = [group.create_task(signins.to_provider("browser", "/")) for _ in range(WAITING_COUNT)]
        await until(lambda: len(provider.asked) == WAITING_COUNT)
        with pytest.raises(SignInFailed, match=TOO_MANY):
            await signins.to_provider("browser", "/")
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        waiting[0] = group.create_task(signins.to_provider("browser", "/"))
        await until(lambda: len(provider.asked) == WAITING_COUNT + 1)
        provider.answers.set()


KNOWN = {
    "issuer": "https://id.example",
    "authorization_endpoint": "https://id.example/authorize",
    "token_endpoint": "https://id.example/token",
    "jwks_uri": "https://id.example/keys",
    "keys": [],
}


@pytest.mark.parametrize(("status", "asked_count"), [(503, 1), (200, 2)], ids=["away", "there"])
async def test_one_asks_a_provider_what_it_is_for_all_who_sign_in(status: int, asked_count: int) -> None:
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        await asyncio.sleep(0)
        return httpx.Response(status, json=KNOWN)

    transport = httpx.MockTransport(answer)
    provider = OidcProvider("https://id.example", "cluster", None, "https://here/signin/callback", transport=transport)
    begun = [provider.begin(f"state {number}", "nonce", "v" * 43) for number in range(20)]
    answers = await asyncio.gather(*begun, return_exceptions=True)
    assert {type(each) for each in answers} == {SignInFailed if status == 503 else str}
    assert len(asked) == asked_count
