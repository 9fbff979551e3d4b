"""Signing in, when many do so at once, or somebody again and again: no hashes, sessions or sign-ins of others go for it."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords, hashed
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.login import AT_ONCE_COUNT, TOLD_COUNT, WAITING_COUNT, LoginThrottle
from clusterodm.services.admin.signin.adapters import OidcProvider
from clusterodm.services.admin.signin.api import SignInPages
from clusterodm.services.admin.signin.core import (
    LONGEST_WANTED_COUNT,
    PENDING_S,
    SESSIONS_COUNT,
    SESSIONS_PER_USER_COUNT,
    SignInFailed,
    WebSessions,
    state_of,
    user_of,
    wanted_of,
)
from clusterodm.services.admin.signin.handlers import (
    TOO_MANY,
    TOO_OFTEN,
    UNKNOWN,
    Begun,
    SignIns,
    compared,
    give_turns,
    publish_count,
)
from clusterodm.services.admin.telnet.handlers import sign_in
from clusterodm.services.admin.web.api.guard import Guard
from tests.waiting import until

NOW = Instant(1000.0)
KEY = b"k" * 32
ADDRESS = "192.0.2.7"
FAILURES_COUNT = 4
"""Who has failed so often waits for seconds."""


# --- passwords


async def test_however_many_sign_in_at_once_two_hashes_are_worked_out_at_a_time() -> None:
    passwords, lock, go_on = Passwords({Role.ADMIN: hashed("right", b"s" * 16)}), threading.Lock(), threading.Event()
    logins, began = LoginThrottle(), list[int]()

    def compare(number: int) -> Role | None:
        with lock:
            began.append(number)
        go_on.wait(20)
        return Role.ADMIN

    loop = asyncio.get_running_loop()
    comparing = [loop.create_task(compared(passwords, logins, "web", f"10.0.0.{number}", partial(compare, number))) for number in range(20)]  # fmt: skip
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
    compare: Callable[[], Role | None] = lambda: Role.ADMIN if threading.get_ident() == here else None  # noqa: E731 what is compared
    assert await compared(passwords, LoginThrottle(), "web", ADDRESS, compare) is Role.ADMIN


def wrong_ones(signins: SignIns, count: int = WAITING_COUNT) -> list[asyncio.Task[Role | None]]:
    """Let somebody try a wrong password from many addresses at once."""
    loop = asyncio.get_running_loop()
    return [loop.create_task(signins.judge("admin", "wrong", f"10.0.0.{number}")) for number in range(count)]


async def ended(*waiting: asyncio.Task[Any]) -> None:
    """Let nobody wait any more."""
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_no_more_wait_behind_wrong_passwords_than_may_and_others_sign_in() -> None:
    logins = LoginThrottle()
    signins = SignIns(MemoryBus(), Passwords({Role.ADMIN: "right"}), logins)
    for number, _ in product(range(WAITING_COUNT), range(FAILURES_COUNT)):
        logins.failed(f"10.0.0.{number}", monotonic_s())
    waiting = wrong_ones(signins)
    try:
        await asyncio.sleep(0)
        with pytest.raises(SignInFailed, match=TOO_OFTEN):
            await signins.judge("admin", "wrong", "10.0.0.1")
        assert await signins.judge("admin", "right", ADDRESS) is Role.ADMIN
    finally:
        await ended(*waiting)


async def test_no_more_wait_for_a_hash_than_may_and_who_was_right_before_does_not() -> None:
    signins = SignIns(MemoryBus(), Passwords({Role.ADMIN: hashed("right", b"s" * 16)}), LoginThrottle())
    assert await signins.judge("admin", "right", ADDRESS) is Role.ADMIN
    waiting = wrong_ones(signins, WAITING_COUNT + AT_ONCE_COUNT)
    try:
        await asyncio.sleep(0)
        with pytest.raises(SignInFailed, match=TOO_MANY):
            await signins.judge("admin", "wrong", "10.0.1.1")
        assert await signins.judge("admin", "right", "10.0.1.2") is Role.ADMIN
    finally:
        await ended(*waiting)


async def test_whoever_tries_wrong_ones_again_and_again_waits_behind_itself_alone() -> None:
    signins = SignIns(MemoryBus(), Passwords({Role.ADMIN: "right"}), LoginThrottle())
    await signins.judge("admin", "wrong", ADDRESS)
    loop = asyncio.get_running_loop()
    addresses = [f"10.0.0.{number % 4}" for number in range(WAITING_COUNT + 4)]  # of each the first is judged at once
    flood = [loop.create_task(signins.judge("admin", "wrong", address)) for address in addresses]
    try:
        await asyncio.sleep(0)
        assert await signins.judge("admin", "right", ADDRESS) is Role.ADMIN, "behind its own wrong one"
        assert isinstance(flood[-4].exception(), SignInFailed), "the last of an address that has most gave way"
    finally:
        await ended(*flood)


@dataclass(frozen=True)
class NotedPasswords(Passwords):
    """Notes what is compared, in this order, each by a hash, and not before it may go on."""

    compared: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def role_of(self, given: str) -> Role | None:
        self._note(given)
        return super().role_of(given)

    def opens(self, user: str, given: str) -> Role | None:
        self._note(given)
        return super().opens(user, given)

    def _note(self, given: str) -> None:
        self.compared.append(given)
        self.go_on.wait(20)


SOON_COUNT = 3 * AT_ONCE_COUNT
"""Hashes that are worked out before that of somebody whose turn is the next but one, those that are under way among them; behind all that wait it would be five times as many."""
SignsIn = Callable[[str, str], Coroutine[Any, Any, Role | None]]


async def waits(logins: LoginThrottle, door: str, count: int) -> None:
    """Wait until so many wait at a door."""
    await until(lambda: len(logins.turns.at(door)) == count)


@pytest.mark.parametrize("floods", ["telnet", "web"])
async def test_wrong_ones_at_one_door_keep_nobody_waiting_at_the_other(bus: MemoryBus, floods: str) -> None:
    passwords, logins = NotedPasswords({Role.ADMIN: hashed("right", b"s" * 16)}), LoginThrottle()
    signins, loop = SignIns(bus, passwords, logins), asyncio.get_running_loop()
    doors: dict[str, SignsIn] = {
        "telnet": lambda given, address: sign_in(bus, passwords, logins, address, given),
        "web": lambda given, address: signins.judge("admin", given, address),
    }
    other = next(door for door in doors if door != floods)
    flood = [loop.create_task(doors[floods]("wrong", f"10.0.{number}.1")) for number in range(100)]
    try:
        await waits(logins, floods, WAITING_COUNT)
        right = loop.create_task(doors[other]("right", ADDRESS))
        await waits(logins, other, 1)
        refused = [each for each in flood if each.done() and isinstance(each.exception(), SignInFailed)]
        assert len(refused) == 100 - WAITING_COUNT - AT_ONCE_COUNT, "no more wait than may"
        passwords.go_on.set()
        assert await right is Role.ADMIN
        assert passwords.compared.index("right") <= SOON_COUNT
    finally:
        passwords.go_on.set()
        await ended(*flood)


async def test_who_floods_from_one_address_is_refused_so_that_others_may_wait() -> None:
    passwords, logins = NotedPasswords({Role.ADMIN: hashed("right", b"s" * 16)}), LoginThrottle()
    loop = asyncio.get_running_loop()
    judging = partial(compared, passwords, logins, "web")
    count = WAITING_COUNT + AT_ONCE_COUNT
    flood = [loop.create_task(judging("10.0.0.1", partial(passwords.role_of, "wrong"))) for _ in range(count)]
    try:
        await waits(logins, "web", WAITING_COUNT)
        right = loop.create_task(judging(ADDRESS, partial(passwords.role_of, "right")))
        await until(flood[-1].done)
        assert isinstance(flood[-1].exception(), SignInFailed), "its last gave way"
        passwords.go_on.set()
        assert await right is Role.ADMIN
        assert passwords.compared.index("right") <= SOON_COUNT
    finally:
        passwords.go_on.set()
        await ended(*flood)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_turn_of_somebody_who_goes_is_the_next_ones(at_once: bool) -> None:
    passwords, logins = Passwords({Role.ADMIN: hashed("right", b"s" * 16)}), LoginThrottle()
    loop = asyncio.get_running_loop()
    for _ in range(3):
        going = [
            loop.create_task(compared(passwords, logins, "web", f"10.0.0.{number}", lambda: None))
            for number in range(9)
        ]
        await asyncio.sleep(0)
        for each in going:
            each.cancel()
            if not at_once:
                await asyncio.sleep(0)
        await ended(*going)
    async with asyncio.timeout(10):
        assert await compared(passwords, logins, "telnet", ADDRESS, lambda: Role.ADMIN) is Role.ADMIN
    assert [logins.turns.begin(), len(logins.turns.at("web")), logins.turns._free_count] == [None, 0, AT_ONCE_COUNT]


async def test_a_turn_is_the_next_ones_when_it_is_given_to_somebody_in_the_moment_of_going() -> None:
    passwords, logins, go_on = Passwords({Role.ADMIN: hashed("right", b"s" * 16)}), LoginThrottle(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> Role | None:
        go_on.wait(20)
        return None

    judging = partial(compared, passwords, logins, "web")
    tasks = [loop.create_task(judging(f"10.0.0.{number}", work)) for number in range(AT_ONCE_COUNT + 2)]
    try:
        await waits(logins, "web", 2)
        logins.turns.end()  # as when one is worked out
        give_turns(logins.turns)
        tasks[AT_ONCE_COUNT].cancel()
        await until(lambda: len(logins.turns.at("web")) == 0, timeout_s=10)
    finally:
        go_on.set()
        await ended(*tasks)


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

ANN: dict[str, Any] = {"iss": "https://id.example", "sub": "1", "preferred_username": "ann", "groups": ["staff"]}


class Provider:
    """One that takes its time, and lets in whoever brings a code that it knows."""

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {"good": ANN}
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
        if code not in self.people:
            raise SignInFailed("The identity provider did not accept the sign-in.")
        return self.people[code]


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def signins(bus: MemoryBus, provider: Provider) -> SignIns:
    return SignIns(bus, Passwords(), LoginThrottle(), provider, "groups", {"staff": Role.OPERATOR})


async def test_no_number_of_others_that_begin_pushes_a_sign_in_out(signins: SignIns, provider: Provider) -> None:
    state = await signins.to_provider("my browser", "/tasks?x=1 2", ADDRESS)
    for number in range(3000):
        await signins.to_provider(f"browser {number}", "/", ADDRESS)
    begun, wanted = await signins.from_provider(state, "good", "my browser", ADDRESS)
    assert (begun.session.name, begun.session.role, wanted) == ("ann", Role.OPERATOR, "/tasks?x=1 2")
    assert provider.asked[0] == provider.asked[-1], "the same nonce and verifier as at the beginning"
    assert len(set(provider.asked)) == 3001
    assert all(len(verifier) >= 43 for _, verifier in provider.asked), "RFC 7636, 4.1"


@pytest.mark.parametrize("browser", ["", "another browser"])
async def test_a_sign_in_is_known_to_its_browser_alone(signins: SignIns, browser: str) -> None:
    state = await signins.to_provider("my browser", "/", ADDRESS)
    with pytest.raises(SignInFailed, match=UNKNOWN):
        await signins.from_provider(state, "good", browser, ADDRESS)


@pytest.mark.parametrize("spoilt", ["", ".", "x", "{}x", "x{}", "{}.", "{}.{}"])
async def test_a_state_that_is_not_ours_is_not_known(signins: SignIns, spoilt: str) -> None:
    state = await signins.to_provider("my browser", "/", ADDRESS)
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


async def test_of_many_whom_the_provider_does_not_let_in_the_number_is_put_on_record(
    signins: SignIns, bus: MemoryBus
) -> None:
    for number in range(TOLD_COUNT + 20):
        state = await signins.to_provider("browser", "/", ADDRESS)
        with pytest.raises(SignInFailed, match="did not accept"):
            await signins.from_provider(state, "bad", "browser", f"10.0.0.{number}")
    await publish_count(bus, signins.logins)
    *singly, counted = (told for _, told in bus.published)
    assert [(each.act, each.outcome, each.address, each.count) for each in singly] == [
        ("SIGN IN", "failed", f"10.0.0.{number}", 1) for number in range(TOLD_COUNT)
    ]
    assert (counted.act, counted.outcome, counted.address, counted.count) == ("SIGN IN", "refused", "", 20)


async def signed_in(signins: SignIns, code: str) -> Begun:
    state = await signins.to_provider("browser", "/", ADDRESS)
    begun, _ = await signins.from_provider(state, code, "browser", ADDRESS)
    return begun


async def test_two_people_of_one_name_have_nothing_in_common(
    signins: SignIns, provider: Provider, bus: MemoryBus
) -> None:
    provider.people |= {"eve": ANN | {"sub": "2"}}
    ann, eve = await signed_in(signins, "good"), await signed_in(signins, "eve")
    assert ann.session.principal(ADDRESS).user != eve.session.principal(ADDRESS).user
    told = [told.user for _, told in bus.published]
    assert told == [f"ann ({user_of(ANN)})", f"ann ({user_of(provider.people['eve'])})"]
    assert told[0] != told[1]
    await signins.out(eve.session_id, ADDRESS, everywhere=True)
    assert signins.sessions.find(ann.session_id, ann.session.seen) is ann.session
    for _ in range(SESSIONS_PER_USER_COUNT + 1):
        await signed_in(signins, "eve")
    assert signins.sessions.find(ann.session_id, ann.session.seen) is ann.session


async def test_who_takes_another_name_stays_the_same(signins: SignIns, provider: Provider) -> None:
    before = await signed_in(signins, "good")
    provider.people["good"] = ANN | {"preferred_username": "eve", "email": "eve@example.org", "email_verified": True}
    now = await signed_in(signins, "good")
    assert (before.session.user, before.session.name, now.session.name) == (now.session.user, "ann", "eve@example.org")
    await signins.out(now.session_id, ADDRESS, everywhere=True)
    assert signins.sessions.find(before.session_id, before.session.seen) is None


async def test_whoever_comes_back_from_the_provider_is_shown_who_that_is(signins: SignIns, provider: Provider) -> None:
    provider.people["good"] = ANN | {"preferred_username": "admin"}
    guard = Guard(PlainTextResponse("the page"), signins, SignInPages(signins, secure=False))
    transport = httpx.ASGITransport(guard, client=(ADDRESS, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        away = await browser.get("/signin/oidc?next=/nodes")
        state = httpx.URL(away.headers["location"]).path
        back = await browser.get("/signin/callback", params={"state": state, "code": "good"})
        assert (back.status_code, back.headers["location"]) == (303, "/nodes")
        assert f"You are admin ({user_of(ANN)}) (operator)." in (await browser.get("/signout")).text


async def test_no_more_wait_for_a_provider_than_may(signins: SignIns, provider: Provider) -> None:
    provider.answers.clear()
    addresses = [f"10.0.0.{number}" for number in range(WAITING_COUNT)]
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        waiting = [group.create_task(signins.to_provider("browser", "/", address)) for address in addresses]
        await until(lambda: len(provider.asked) == WAITING_COUNT)
        with pytest.raises(SignInFailed, match=TOO_MANY):
            await signins.to_provider("browser", "/", ADDRESS)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        waiting[0] = group.create_task(signins.to_provider("browser", "/", ADDRESS))
        await until(lambda: len(provider.asked) == WAITING_COUNT + 1)
        provider.answers.set()


async def test_who_goes_to_a_provider_again_and_again_takes_no_place_of_others(
    signins: SignIns, provider: Provider
) -> None:
    provider.answers.clear()
    loop = asyncio.get_running_loop()
    flood = [loop.create_task(signins.to_provider("browser", "/", "10.0.0.1")) for _ in range(WAITING_COUNT)]
    await until(lambda: len(provider.asked) == WAITING_COUNT)
    other = loop.create_task(signins.to_provider("browser", "/", ADDRESS))
    await until(lambda: len(provider.asked) == WAITING_COUNT + 1)
    provider.answers.set()
    async with asyncio.timeout(10):
        *served, refused = await asyncio.gather(*flood, return_exceptions=True)
        assert isinstance(await other, str)
    assert {type(each) for each in served} == {str}
    assert isinstance(refused, SignInFailed)


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


class Discovered(BaseHTTPRequestHandler):
    """A provider that says what it is."""

    def do_GET(self) -> None:
        here = f"http://127.0.0.1:{self.server.server_address[1]}"  # type: ignore[str-bytes-safe] # a tuple of an internet address
        said = json.dumps({**KNOWN, "issuer": here, "jwks_uri": f"{here}/keys"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Keep still."""


@pytest.fixture
def discovered() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Discovered) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_who_begins_to_sign_in_again_and_again_has_no_certificates_read(
    discovered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes 20 ms for which everybody waits; nobody has said yet who it is."""
    provider = OidcProvider(discovered, "cluster", None, "https://here/signin/callback")
    made: list[object] = []
    make = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda *given, **named: made.append(1) or make(*given, **named))
    going = [await provider.begin(f"state{number}", "nonce", "v" * 43) for number in range(5)]
    assert [f"state=state{number}" in url for number, url in enumerate(going)] == [True] * 5
    assert made == []
