"""Which role every route of the web and every word of telnet needs: a table of each, and whoever has less gets nothing done.

A route or a word that is not in its table fails: whoever adds one says here who may use it. What reads asks for nothing on the bus that changes anything.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.routing import Route

from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import NOBODY_ELSE, Principal, Role, acting
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.telnet.core.grammar import GRAMMAR
from clusterodm.services.admin.telnet.core.tenant_words import GRAMMAR as TENANT_GRAMMAR
from clusterodm.services.admin.telnet.handlers import answer
from clusterodm.services.admin.tenants.handlers import TenantActs
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.app import WebDependencies, web_application
from clusterodm.services.admin.web.api.guard import web_app
from tests.fake_scheduler import admin_health
from tests.small_cluster import ENDED, FILE, MACHINE, NODE, TASK, WAITING, SmallCluster

NOTHING: Mapping[str, Any] = MappingProxyType({})
ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


class Change(NamedTuple):
    """What it takes to change something."""

    needs: Role
    asks: str
    """The request or the event that does it, or the file of tokens."""
    body: Mapping[str, Any] = NOTHING
    task: str = TASK


READS = frozenset(
    {
        *("/", "/tasks", "/tasks/{task}", "/queue", "/nodes", "/nodes/{node}", "/machines", "/machines/{machine}"),
        *("/tenants", "/tenants/{tenant}", "/usage", "/events", "/services", "/settings", "/signout", "/static/{name:path}"),
        *("/r/info", "/r/node/list", "/r/task/list", "/r/machine/list", "/r/asr/status"),
        *(
            f"/api/v1/{path}"
            for path in (
                *("docs", "openapi.json", "overview", "samples", "events", "events/stream", "services", "settings"),
                *("tasks", "tasks/{task}", "tasks/{task}/console", "tasks/{task}/console.txt", "queue", "nodes", "nodes/{node}"),
                *("machines", "machines/{machine}", "machines/{machine}/boot-log", "machines/{machine}/boot-log.txt"),
                *("autoscaler", "tenants", "tenants/{name}", "tenants/{name}/tasks", "usage"),
            )
        ),
    }
)  # fmt: skip
"""What a viewer may ask for: all that GET answers."""
CHANGES = {
    ("POST", "/api/v1/nodes"): Change(Role.ADMIN, "scheduler.add_node", {"hostname": "10.0.0.9", "port": 3000}),
    ("POST", "/api/v1/nodes/probe"): Change(Role.OPERATOR, "scheduler.update_nodes"),
    ("POST", "/api/v1/nodes/{node}/lock"): Change(Role.OPERATOR, "scheduler.lock_node"),
    ("POST", "/api/v1/nodes/{node}/unlock"): Change(Role.OPERATOR, "scheduler.unlock_node"),
    ("POST", "/api/v1/nodes/{node}/drain"): Change(Role.OPERATOR, "scheduler.drain_node"),
    ("POST", "/api/v1/nodes/{node}/labels"): Change(Role.OPERATOR, "scheduler.label_node", {"labels": ["gpu"]}),
    ("DELETE", "/api/v1/nodes/{node}"): Change(Role.ADMIN, "scheduler.remove_node"),
    ("POST", "/api/v1/tasks/{task}/cancel"): Change(Role.OPERATOR, "scheduler.cancel_task"),
    ("POST", "/api/v1/tasks/{task}/restart"): Change(Role.OPERATOR, "scheduler.restart_task", task=ENDED),
    ("POST", "/api/v1/tasks/{task}/up"): Change(Role.OPERATOR, "scheduler.move_task_up", task=WAITING),
    ("POST", "/api/v1/tasks/{task}/priority"): Change(Role.OPERATOR, "scheduler.set_task_priority", {"priority": 3}, WAITING),
    ("DELETE", "/api/v1/tasks/{task}"): Change(Role.OPERATOR, "scheduler.remove_task"),
    ("DELETE", "/api/v1/machines/{machine}"): Change(Role.ADMIN, "autoscaler.destroy_machine"),
    ("POST", "/api/v1/autoscaler/pause"): Change(Role.OPERATOR, "autoscaler.pause"),
    ("POST", "/api/v1/autoscaler/resume"): Change(Role.OPERATOR, "autoscaler.resume"),
    ("POST", "/api/v1/services/log-level"): Change(Role.OPERATOR, "log.level_set", {"level": "info"}),
    ("POST", "/api/v1/tenants"): Change(Role.ADMIN, FILE, {"name": "guest"}),
    ("POST", "/api/v1/tenants/{name}"): Change(Role.ADMIN, FILE, {"weight": 3}),
    ("POST", "/api/v1/tenants/{name}/tokens"): Change(Role.ADMIN, FILE),
    ("DELETE", "/api/v1/tenants/{name}"): Change(Role.ADMIN, FILE),
    ("POST", "/api/v1/tokens/{token}/rotate"): Change(Role.ADMIN, FILE),
    ("DELETE", "/api/v1/tokens/{token}"): Change(Role.ADMIN, FILE),
    ("POST", "/r/node/add"): Change(Role.ADMIN, "scheduler.add_node", {"hostname": "10.0.0.9", "port": 3000}),
    ("POST", "/r/node/lock"): Change(Role.OPERATOR, "scheduler.lock_node", {"number": 1}),
    ("POST", "/r/node/unlock"): Change(Role.OPERATOR, "scheduler.unlock_node", {"number": 1}),
    ("DELETE", "/r/node"): Change(Role.ADMIN, "scheduler.remove_node", {"number": 1}),
    ("POST", "/r/task/cancel"): Change(Role.OPERATOR, "scheduler.cancel_task", {"uuid": TASK}),
    ("POST", "/r/task/remove"): Change(Role.OPERATOR, "scheduler.remove_task", {"uuid": TASK}),
    ("POST", "/r/asr/pause"): Change(Role.OPERATOR, "autoscaler.pause"),
    ("POST", "/r/asr/resume"): Change(Role.OPERATOR, "autoscaler.resume"),
    ("POST", "/r/log/level"): Change(Role.OPERATOR, "log.level_set", {"level": "info"}),
    ("DELETE", "/r/machine"): Change(Role.ADMIN, "autoscaler.destroy_machine", {"number": 1}),
}  # fmt: skip
CHANGING = frozenset(each.asks for each in CHANGES.values())

READING_WORDS = {
    "NODE INFO 1", "NODE LIST", "NODE BEST 1", "ROUTE INFO {task}", "ROUTE LIST", "TASK LIST", "TASK INFO {task}", "TASK OUTPUT {task}",
    "ASR VIEWCMD 1", "ASR LIST", "ASR STATUS", "ASR OUTPUT 1", "TENANT USAGE", "TENANT LIST", "TOKEN LIST",
}  # fmt: skip
CHANGING_WORDS = {
    "NODE ADD 10.0.0.9 3000": Change(Role.ADMIN, "scheduler.add_node"),
    "NODE DEL 1": Change(Role.ADMIN, "scheduler.remove_node"),
    "NODE LOCK 1": Change(Role.OPERATOR, "scheduler.lock_node"),
    "NODE UNLOCK 1": Change(Role.OPERATOR, "scheduler.unlock_node"),
    "NODE DRAIN 1": Change(Role.OPERATOR, "scheduler.drain_node"),
    "NODE LABEL 1 gpu": Change(Role.OPERATOR, "scheduler.label_node"),
    "NODE UPDATE": Change(Role.OPERATOR, "scheduler.update_nodes"),
    "TASK CANCEL {task}": Change(Role.OPERATOR, "scheduler.cancel_task"),
    "TASK REMOVE {task}": Change(Role.OPERATOR, "scheduler.remove_task"),
    "TASK RESTART {task}": Change(Role.OPERATOR, "scheduler.restart_task", task=ENDED),
    "TASK PRIORITY {task} 3": Change(Role.OPERATOR, "scheduler.set_task_priority", task=WAITING),
    "TASK UP {task}": Change(Role.OPERATOR, "scheduler.move_task_up", task=WAITING),
    "ASR DESTROY 1": Change(Role.ADMIN, "autoscaler.destroy_machine"),
    "ASR PAUSE": Change(Role.OPERATOR, "autoscaler.pause"),
    "ASR RESUME": Change(Role.OPERATOR, "autoscaler.resume"),
    "LOG LEVEL info": Change(Role.OPERATOR, "log.level_set"),
    "TOKEN CREATE survey": Change(Role.ADMIN, FILE),
    "TOKEN ROTATE {token}": Change(Role.ADMIN, FILE),
    "TOKEN REVOKE {token}": Change(Role.ADMIN, FILE),
    "TENANT SET survey weight=3": Change(Role.ADMIN, FILE),
    "TENANT REMOVE survey": Change(Role.ADMIN, FILE),
}


class World(SmallCluster):
    """A small cluster with a file of tokens."""

    def named(self, text: str, about: str = TASK) -> str:
        """Put what is there into a path or a line."""
        names = {"task": about, "node": NODE, "machine": MACHINE, "token": self.token}
        for name, value in {**names, "name": "survey", "tenant": "survey", "name:path": "app.js"}.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def changed(self, before: bytes) -> set[str]:
        """Say what was asked for that changes something."""
        return (CHANGING & set(self.bus.asked)) | ({FILE} if self.path.read_bytes() != before else set())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    async with world.running():
        yield world


@asynccontextmanager
async def signed_in(world: World, role: Role) -> AsyncIterator[httpx.AsyncClient]:
    passwords = Passwords({each: f"{each.word}-pw" for each in ROLES})
    app = web_app(world.bus, passwords, LoginThrottle(), admin_health(world.bus), tokens=world.store)
    auth, headers = (role.word, f"{role.word}-pw"), {"X-Requested-With": "tests"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost", auth=auth, headers=headers
    ) as client:
        yield client


def test_every_route_has_its_role() -> None:
    app: Any = web_application(WebDependencies(bus := MemoryBus(), Watched(bus)))
    every = [
        route
        for included in app.routes
        for route in getattr(getattr(included, "original_router", None), "routes", [included])
    ]
    assert all(isinstance(route, Route) for route in every), "none answers unseen"
    routes = {(method, route.path) for route in every for method in route.methods if method != "HEAD"}
    assert {path for method, path in routes if method == "GET"} == READS
    assert {each for each in routes if each[0] != "GET"} == set(CHANGES)


def test_every_word_has_its_role() -> None:
    listed = [tuple(line.split()[:2]) for line in (*READING_WORDS, *CHANGING_WORDS)]
    assert sorted(listed) == sorted((*GRAMMAR, *TENANT_GRAMMAR))


@pytest.mark.parametrize("path", sorted(READS - {"/api/v1/events/stream"}))
async def test_what_reads_changes_nothing_and_is_for_viewers(world: World, path: str) -> None:
    before = world.path.read_bytes()
    async with signed_in(world, Role.VIEWER) as client:
        answered = await client.get(world.named(path))
    assert answered.status_code in ({401} if path == "/signout" else {200, 404})
    assert world.changed(before) == set()


@pytest.mark.parametrize("role", ROLES, ids=[role.word for role in ROLES])
@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_route_does_nothing_for_whoever_lacks_its_role(
    world: World, method: str, path: str, role: Role
) -> None:
    change, before = CHANGES[method, path], world.path.read_bytes()
    async with signed_in(world, role) as client:
        answered = await client.request(method, world.named(path, change.task), json=dict(change.body) or None)
    if role >= change.needs:
        assert world.changed(before) == {change.asks}, answered.text
        return
    assert world.changed(before) == set()
    refused = f"this needs the role {change.needs.word}; you are {role.word}"
    assert answered.status_code == 403 or (role > Role.VIEWER and path.startswith("/r/"))
    assert refused in answered.text or answered.json() is False


@pytest.mark.parametrize("role", ROLES, ids=[role.word for role in ROLES])
@pytest.mark.parametrize("line", sorted(READING_WORDS | CHANGING_WORDS.keys()))
async def test_a_word_does_nothing_for_whoever_lacks_its_role(world: World, line: str, role: Role) -> None:
    change, before = CHANGING_WORDS.get(line), world.path.read_bytes()
    token = acting.set(Principal(role.word, role, "telnet", "10.0.0.9"))
    try:
        acts = TenantActs(world.bus, world.store)
        said = "".join(await answer(world.bus, acts, world.named(line, change.task if change else TASK)))
    finally:
        acting.reset(token)
    if change is None or role >= change.needs:
        assert world.changed(before) == ({change.asks} if change else set()), said
        assert "INVALID" not in said
        return
    assert world.changed(before) == set()
    refused = f"this needs the role {change.needs.word}; you are {role.word}"
    assert said == f"FAIL {refused}\r\n" or json.loads(said) == {"success": False, "error": refused}


def test_without_a_password_whoever_comes_is_an_admin() -> None:
    assert NOBODY_ELSE.role is max(Role)
