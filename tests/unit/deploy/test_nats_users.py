"""What each service may do on NATS is what its code does, and no more."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusterodm.deploy.nats import USERS, USERS_FILE, password_of
from clusterodm.deploy.nats_users import FILES, INTEGRATION, INTEGRATIONS, OPERATOR, RIGHTS, published, subscribed
from clusterodm.deploy.nats_users import USERS as RIGHTS_OF_USERS
from clusterodm.libs.common.bus.layout import BUCKETS, PRIVATE, SNAPSHOTS
from clusterodm.libs.common.bus.urls import inbox_of, named_in
from clusterodm.libs.common.messages.buckets import CLUSTER
from clusterodm.libs.common.messages.catalogue import catalogue
from clusterodm.libs.common.messages.health import LEADER_ANSWERS, STANDBY_REPORTED
from clusterodm.libs.common.messages.kinds import BucketName, Event, ObjectsName, Request, Snapshot

SERVICES = Path(__file__).parents[3] / "services"
KINDS = (Request, Event, Snapshot, BucketName, ObjectsName)


def used(service: str) -> Iterator[Any]:
    """Find the messages and stores that a service's code names."""
    for path in (SERVICES / service).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clusterodm.libs.common.messages."):
                yield from (found for name in node.names if isinstance(found := catalogue()[name.name], KINDS))


@pytest.mark.parametrize("service", RIGHTS)
def test_a_service_has_a_right_for_everything_that_its_code_names_and_for_nothing_else(service: str):
    rights = RIGHTS[service]
    rights_given = (
        *rights.requests,
        *rights.publishes,
        *rights.subscribes,
        *rights.reads,
        *rights.writes,
        *rights.objects,
    )
    rights_given = (*rights_given, *rights.sets, *rights.watches)
    named = [each for each in used(service) if not (isinstance(each, Request) and each.owner == service)]
    indirectly = {CLUSTER.name, LEADER_ANSWERS.name, STANDBY_REPORTED.name}
    own_health = {f"{service}.report_health"}  # one that stands by requests the one that leads
    assert {each.name for each in named} - indirectly == {each.name for each in rights_given} - indirectly - own_health


@pytest.mark.parametrize("service", RIGHTS)
def test_a_bucket_is_written_by_its_owner_alone(service: str):
    for bucket in (*RIGHTS[service].writes, *RIGHTS[service].objects):
        assert bucket.writer == service or bucket is CLUSTER
    for bucket in RIGHTS[service].reads:
        assert bucket.writer != service


def test_every_bucket_that_a_service_uses_is_made_by_the_keeper():
    for rights in RIGHTS.values():
        named = {*(each.name for each in (*rights.reads, *rights.writes)), *rights.keeps}
        assert named <= {bucket.name for bucket in BUCKETS}
        assert {*rights.sets, *rights.watches} <= set(SNAPSHOTS)


def declared(service: str) -> Iterator[tuple[str, set[str]]]:
    """Find the buckets that a service declares for itself: each name, and what else is said of it."""
    for path in (SERVICES / service).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "BucketName":
                assert isinstance(node.args[0], ast.Constant)
                yield str(node.args[0].value), {str(each.arg) for each in node.keywords}


def test_every_bucket_that_only_its_service_knows_is_made_by_the_keeper_as_it_is_declared():
    found = {name: said for service in RIGHTS for name, said in declared(service)}
    assert set(found) == {bucket.name for bucket in PRIVATE} == set(RIGHTS["autoscaler"].keeps)
    assert all(said == {"writer"} for said in found.values()), "say in layout.PRIVATE, too, how long it is kept"


def test_every_bucket_of_the_messages_is_made_by_the_keeper():
    named = {each.name for each in catalogue().values() if isinstance(each, BucketName)}
    assert {bucket.name for bucket in BUCKETS} == named | {bucket.name for bucket in PRIVATE}
    assert len({bucket.name for bucket in BUCKETS}) == len(BUCKETS)
    assert set(SNAPSHOTS) == {each for each in catalogue().values() if isinstance(each, Snapshot)}


def test_no_service_may_do_everything():
    for service, rights in RIGHTS_OF_USERS.items():
        for subject in (*published(service, rights), *subscribed(service, rights)):
            assert subject not in {">", "$JS.API.>", "$KV.>", "$SYS.>", "clusterodm.>"}
        assert [each for each in subscribed(service, rights) if each.startswith("_INBOX")] == [f"_INBOX.{service}.>"]


def test_an_integration_asks_and_listens_and_does_nothing_else():
    assert set(subscribed(INTEGRATION, INTEGRATIONS)) == {
        f"_INBOX.{INTEGRATION}.>",
        *(f"clusterodm.event.{noun}.*" for noun in ("task", "node", "machine")),
    }
    assert set(published(INTEGRATION, INTEGRATIONS)) == {each.subject for each in INTEGRATIONS.requests}
    assert not {each.name for each in INTEGRATIONS.requests} & UNSHOWN


UNSHOWN = {"scheduler.get_task", "scheduler.submit_task", "scheduler.adopt_task", "scheduler.claim_task"}
"""Whose answers are whole records, with what may open something."""


def test_the_configuration_that_is_shipped_is_the_one_that_the_table_makes():
    assert USERS_FILE in FILES
    assert [path.name for path, made in FILES.items() if path.read_text() != made()] == [], (
        "python -m clusterodm.deploy.nats_users"
    )
    assert set(USERS) == {OPERATOR, *RIGHTS_OF_USERS} == {OPERATOR, INTEGRATION, *RIGHTS}


def test_a_password_is_the_users_own_and_is_no_number():
    passwords = {password_of("token", user) for user in USERS}
    assert len(passwords) == len(USERS)
    assert all(each[0] == "p" and each.isalnum() for each in passwords)


@pytest.mark.parametrize(
    ("url", "inbox"),
    [
        ("nats://proxy:secret@h:1,nats://proxy:secret@i:1", "_INBOX.proxy"),
        ("nats://h:4222", "_INBOX"),
        ("nats://token@h:4222", "_INBOX"),
        ("nats://a.b:secret@h", "_INBOX"),
        ("nats://[h", "_INBOX"),
    ],
)
def test_each_user_has_an_inbox_of_its_own(url: str, inbox: str):
    assert inbox_of(named_in(url)[0]) == inbox
