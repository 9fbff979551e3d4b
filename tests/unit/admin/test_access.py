"""Roles and passwords of operators."""

import hashlib
import json

import pytest
from starlette.exceptions import HTTPException

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.messages.operators import OPERATOR_ACTED
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import BadPassword, Passwords, check, hashed
from clusterodm.services.admin.access.roles import ROLES, Principal, Role, acting, role_rules
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.acts import needed_role
from clusterodm.services.admin.commands.core.answers import Declined, Ok
from clusterodm.services.admin.commands.core.commands import NodeAct
from clusterodm.services.admin.commands.handlers.execute import execute
from clusterodm.services.admin.rendering.answers import render
from clusterodm.services.admin.signin.core import (
    IDLE_S,
    LONGEST_NAME_COUNT,
    WebSessions,
    local_path,
    name_of,
    role_of,
    user_of,
)
from clusterodm.services.admin.telnet.core.grammar import GRAMMAR, parse
from clusterodm.services.admin.web.api.answers import done
from tests.fake_scheduler import FakeScheduler, node

SALT = b"0123456789abcdef"
NOW = Instant(1000.0)


def test_a_password_opens_its_role_plain_or_hashed() -> None:
    passwords = Passwords({Role.ADMIN: hashed("top", SALT), Role.VIEWER: "look"})
    assert passwords.slow
    assert [passwords.role_of(given) for given in ("top", "look", "", "TOP", hashed("top", SALT))] == [
        Role.ADMIN,
        Role.VIEWER,
        None,
        None,
        None,
    ]
    assert passwords.opens("viewer", "look") is Role.VIEWER
    assert passwords.opens("admin", "look") is None
    assert "top" not in repr(passwords)
    assert "look" not in repr(passwords)


@pytest.mark.parametrize(
    "stored",
    [
        "scrypt$",
        "scrypt$14$8$1$!!!$x",
        "scrypt$60$8$1$MDEyMzQ1Njc4OQ==$MDEyMzQ1Njc4OTAxMjM0NTY3",
        "scrypt$14$8$9$MDEyMzQ1Njc4OQ==$MDEyMzQ1Njc4OTAxMjM0NTY3",
    ],
)
def test_a_hash_that_is_none_is_refused_at_the_start_and_not_repeated(stored: str) -> None:
    with pytest.raises(BadPassword) as refused:
        check(stored)
    assert stored not in str(refused.value)
    check(hashed("x", SALT))
    check("plain")


def test_a_password_of_bytes_that_are_no_text_is_refused_and_not_repeated() -> None:
    with pytest.raises(BadPassword) as refused:
        check("s3cret\udce4")  # as Python has such bytes of the environment; "s3cret?" would open what it opens
    assert "s3cret" not in str(refused.value)


READS = {"INFO", "LIST", "USAGE", "BEST", "STATUS", "OUTPUT", "VIEWCMD"}
ADMINS = {("NODE", "ADD"), ("NODE", "DEL"), ("ASR", "DESTROY")}


@pytest.mark.parametrize(("noun", "verb"), GRAMMAR)
def test_every_word_of_telnet_needs_the_role_that_it_should(noun: str, verb: str) -> None:
    expected = Role.VIEWER if verb in READS else Role.ADMIN if (noun, verb) in ADMINS else Role.OPERATOR
    words = "debug" if noun == "LOG" else "1 1"
    assert needed_role(parse(f"{noun} {verb} {words}")) is expected


@pytest.mark.parametrize(
    ("role", "command", "allowed"),
    [
        (Role.VIEWER, commands.ChangeNodeCommand(NodeAct.LOCK, 1), False),
        (Role.OPERATOR, commands.ChangeNodeCommand(NodeAct.LOCK, 1), True),
        (Role.OPERATOR, commands.ChangeNodeCommand(NodeAct.DEL, 1), False),
        (Role.ADMIN, commands.ChangeNodeCommand(NodeAct.DEL, 1), True),
        (Role.OPERATOR, commands.AddNodeCommand("h", 1), False),
    ],
)
async def test_a_role_may_do_no_more_than_it_may_and_every_act_is_told(
    role: Role, command: commands.Command, allowed: bool
) -> None:
    bus, fake = MemoryBus(), FakeScheduler()
    fake.nodes = [node(1)]
    token = acting.set(Principal("somebody", role, "web", "10.0.0.9"))
    try:
        async with bus.serve("scheduler", fake.handlers()):
            answer = await execute(bus, command)
    finally:
        acting.reset(token)
    assert isinstance(answer, Ok) is allowed
    assert isinstance(answer, Declined) is not allowed
    [(_, told)] = [each for each in bus.published if each[0] == OPERATOR_ACTED.name]
    assert (told.user, told.role, told.door, told.address) == ("somebody", role.word, "web", "10.0.0.9")
    assert told.outcome == ("done" if allowed else "refused")
    assert (len(fake.nodes), fake.nodes and fake.nodes[0].locked) != (0, False) or allowed


CHANGES = [words for words in GRAMMAR if words[1] not in READS]


@pytest.mark.parametrize(("noun", "verb"), CHANGES)
async def test_whoever_lacks_the_role_of_a_word_is_told_so_as_that_word_says_no(noun: str, verb: str) -> None:
    bus, fake = MemoryBus(), FakeScheduler()
    fake.nodes = [node(1)]
    token = acting.set(Principal("viewer", Role.VIEWER, "telnet", "10.0.0.9"))
    command = parse(f"{noun} {verb} {'debug' if noun == 'LOG' else '1 1'}")
    try:
        async with bus.serve("scheduler", fake.handlers()):
            answer = await execute(bus, command)
    finally:
        acting.reset(token)
    said, reason = render(answer), f"this needs the role {needed_role(command).word}; you are viewer"
    assert said == f"FAIL {reason}\r\n" if noun != "TASK" else json.loads(said) == {"success": False, "error": reason}
    with pytest.raises(HTTPException) as refused:
        done(answer)
    assert refused.value.status_code == 403
    [(_, told)] = [each for each in bus.published if each[0] == OPERATOR_ACTED.name]
    assert (told.outcome, told.reason) == ("refused", reason)


@pytest.mark.parametrize(
    ("before", "after", "needed"),
    [
        pytest.param((), ("gpu",), Role.OPERATOR, id="a label"),
        pytest.param((), ("tenant=survey",), Role.ADMIN, id="a reservation"),
        pytest.param(("tenant=survey",), (), Role.ADMIN, id="its end"),
        pytest.param(("tenant=survey",), ("tenant=guest",), Role.ADMIN, id="another"),
        pytest.param(("tenant=survey",), ("gpu", "tenant=survey"), Role.OPERATOR, id="the same, and a label"),
    ],
)
@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN])
async def test_whose_tasks_a_node_takes_is_for_admins_to_say(
    before: tuple[str, ...], after: tuple[str, ...], needed: Role, role: Role
) -> None:
    bus, fake = MemoryBus(), FakeScheduler()
    fake.nodes = [node(1, labels=before)]
    token = acting.set(Principal("somebody", role, "telnet", "10.0.0.9"))
    try:
        async with bus.serve("scheduler", fake.handlers()):
            answer = await execute(bus, commands.LabelNodeCommand(1, after))
    finally:
        acting.reset(token)
    allowed = role >= needed
    assert render(answer) == ("OK\r\n" if allowed else "FAIL this needs the role admin; you are operator\r\n")
    assert fake.nodes[0].labels == (after if allowed else before)


async def test_who_only_reads_leaves_no_act() -> None:
    bus, fake = MemoryBus(), FakeScheduler()
    async with bus.serve("scheduler", fake.handlers()):
        await execute(bus, commands.ListNodesCommand())
    assert bus.published == []


def test_a_session_ends_by_silence_by_age_and_everywhere() -> None:
    sessions = WebSessions(longest_s=2 * IDLE_S)
    sessions.begin("one", "f", "ann", Role.VIEWER, NOW)
    sessions.begin("two", "f", "ann", Role.VIEWER, NOW)
    sessions.begin("other", "f", "bob", Role.VIEWER, NOW)
    assert sessions.find("one", Instant(NOW + IDLE_S)) is not None
    assert sessions.find("other", Instant(NOW + IDLE_S + 1)) is None
    assert sessions.find("one", Instant(NOW + 2 * IDLE_S + 1)) is None
    sessions.begin("three", "f", "ann", Role.VIEWER, NOW)
    assert sessions.end_all("ann") == 2
    assert sessions.find("three", NOW) is None


def test_who_is_only_looked_for_stays_silent() -> None:
    sessions = WebSessions(longest_s=2 * IDLE_S)
    made = sessions.begin("one", "f", "ann", Role.VIEWER, NOW)
    assert sessions.stands("one", Instant(NOW + IDLE_S)) is made
    assert sessions.stands("one", Instant(NOW + IDLE_S + 1)) is None
    assert sessions.stands("other", NOW) is None


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["staff", "cluster-admins"]}, Role.ADMIN),
        ({"groups": ["staff"]}, Role.OPERATOR),
        ({"groups": "staff"}, Role.OPERATOR),
        ({"groups": ["*"]}, None),
        ({"groups": [{"staff": 1}, 5]}, None),
        ({}, None),
    ],
)
def test_what_the_provider_says_gives_a_role(claims: dict[str, object], role: Role | None) -> None:
    rules = role_rules("cluster-admins=admin, staff=operator")
    assert role_of(claims, "groups", rules) is role
    assert role_of(claims, "groups", role_rules("*=viewer")) is Role.VIEWER


@pytest.mark.parametrize("text", ["admins", "=admin", "admins=root", "admins=admin,=viewer"])
def test_rules_with_a_mistake_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not GROUP=ROLE"):
        role_rules(text)


ANNA: dict[str, object] = {"iss": "https://id.example", "sub": "1", "preferred_username": "anna"}


def test_a_person_is_identified_by_issuer_and_subject_and_nothing_else() -> None:
    digest = hashlib.sha256(b"https://id.example\n1").hexdigest()
    assert user_of(ANNA) == f"oidc:{digest[:16]}"
    assert user_of(ANNA | {"preferred_username": "bob", "email": "bob@example.org", "email_verified": True}) == user_of(
        ANNA
    )
    others = [{"sub": "2"}, {"iss": "https://other.example"}, {"sub": "\ud800"}, {"sub": "\ud801"}]
    assert len({user_of(ANNA | other) for other in others} | {user_of(ANNA)}) == 5


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        pytest.param({"email": "a@b.org", "email_verified": True}, "a@b.org", id="a verified address"),
        pytest.param({"email": "a@b.org", "email_verified": "true"}, "anna", id="one that is not"),
        pytest.param({"preferred_username": ""}, "1", id="none"),
        pytest.param({"preferred_username": "x\n\x1b[31mroot\u202e"}, "x31mroot", id="what is not printable"),
        pytest.param(
            {"preferred_username": " Jos\u00e9  O'Hara-Lee "}, "Jos\u00e9 O'Hara-Lee", id="letters of all kinds"
        ),
        pytest.param({"preferred_username": "bob (oidc:8f3c)"}, "bob oidc8f3c", id="what identifies another"),
        pytest.param(
            {"preferred_username": "\uff08bob\uff09 (admin) \ud800"}, "bob admin", id="brackets and half letters"
        ),
        pytest.param({"preferred_username": ["anna"]}, "'anna'", id="no text"),
        pytest.param({"preferred_username": "x" * 1000}, "x" * LONGEST_NAME_COUNT, id="a long one"),
    ],
)
def test_a_name_is_what_people_know_and_can_be_shown(claims: dict[str, object], name: str) -> None:
    assert name_of(ANNA | claims) == name


@pytest.mark.parametrize("name", ["admin", "viewer", "root", "", "anna", "anna (oidc:0123456789abcdef)"])
def test_nobody_at_a_provider_is_shown_as_anybody_else(name: str) -> None:
    people = [ANNA | {"sub": sub, "preferred_username": name} for sub in ("1", "2")]
    shown = {Principal(user_of(each), Role.VIEWER, "web", "", name_of(each)).shown for each in people}
    assert len(shown) == 2
    assert not shown & {*ROLES, "root", name}
    assert all(each.count("oidc:") == 1 for each in shown)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/tasks?x=1", "/tasks?x=1"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/a\\b", "/"),
        ("/a\r\nSet-Cookie: x=1", "/"),
        ("/signout", "/"),
        ("", "/"),
    ],
)
def test_after_signing_in_a_browser_stays_here(wanted: str, path: str) -> None:
    assert local_path(wanted) == path
