"""Every button of every page has the same word in telnet and on the command line, and all three ask for the same on the bus.

The table below is the list: what a page sends, what is asked for on the bus, and the words. The buttons are found in the templates, so that a new one without a row fails.
What is about tenants and tokens changes the file of tokens, whichever way it comes: a new token must not pass over the bus.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import pytest

from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.cli.core.grammar import read
from clusterodm.services.admin.cli.handlers.once import ask
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.telnet.handlers import answer
from clusterodm.services.admin.tenants.adapters import read_file
from clusterodm.services.admin.tenants.handlers import TenantActs
from clusterodm.services.admin.tokens.words import main as token_words
from clusterodm.services.admin.web.api.guard import web_app
from tests.fake_scheduler import admin_health
from tests.small_cluster import ENDED, FILE, MACHINE, NODE, TASK, WAITING, SmallCluster

TEMPLATES = Path("services/admin/web/api/templates")


class Button(NamedTuple):
    """One row."""

    page: str
    """Its template, and what stands on it."""
    method: str
    path: str
    """As `/api/v1` has it, below that."""
    asks: str
    """The last request or event on the bus, or the file of tokens."""
    telnet: str
    cli: str
    body: Mapping[str, Any] = MappingProxyType({})

    @property
    def act(self) -> str:
        """The word as it is called on record."""
        return " ".join(self.telnet.split()[:2])


BUTTONS = (
    Button("nodes Add node", "POST", "/nodes", "scheduler.add_node", "NODE ADD 10.0.0.9 3000", "node add 10.0.0.9 3000", {"hostname": "10.0.0.9", "port": 3000}),
    Button("nodes Ask all now", "POST", "/nodes/probe", "scheduler.update_nodes", "NODE UPDATE", "node update"),
    Button("nodes, node Lock", "POST", f"/nodes/{NODE}/lock", "scheduler.lock_node", "NODE LOCK 1", "node lock 1"),
    Button("nodes, node Unlock", "POST", f"/nodes/{NODE}/unlock", "scheduler.unlock_node", "NODE UNLOCK 1", "node unlock 1"),
    Button("nodes, node Drain", "POST", f"/nodes/{NODE}/drain", "scheduler.drain_node", "NODE DRAIN 1 60", "node drain 1 --seconds 60", {"deadline_s": 60}),
    Button("node Labels", "POST", f"/nodes/{NODE}/labels", "scheduler.label_node", "NODE LABEL 1 gpu", "node label 1 gpu", {"labels": ["gpu"]}),
    Button("node Delete", "DELETE", f"/nodes/{NODE}", "scheduler.remove_node", "NODE DEL 1", "node del 1"),
    Button("task, queue Cancel", "POST", f"/tasks/{TASK}/cancel", "scheduler.cancel_task", f"TASK CANCEL {TASK}", f"task cancel {TASK}"),
    Button("task, queue Move up", "POST", f"/tasks/{WAITING}/up", "scheduler.move_task_up", f"TASK UP {WAITING}", f"task up {WAITING}"),
    Button("task Priority", "POST", f"/tasks/{WAITING}/priority", "scheduler.set_task_priority", f"TASK PRIORITY {WAITING} 3", f"task priority {WAITING} 3", {"priority": 3}),
    Button("task Restart", "POST", f"/tasks/{ENDED}/restart", "scheduler.restart_task", f"TASK RESTART {ENDED}", f"task restart {ENDED}"),
    Button("task Remove", "DELETE", f"/tasks/{TASK}", "scheduler.remove_task", f"TASK REMOVE {TASK}", f"task remove {TASK}"),
    Button("machines, machine Destroy", "DELETE", f"/machines/{MACHINE}", "autoscaler.destroy_machine", "ASR DESTROY 1", "asr destroy 1"),
    Button("machines Pause", "POST", "/autoscaler/pause", "autoscaler.pause", "ASR PAUSE", "asr pause"),
    Button("machines Resume", "POST", "/autoscaler/resume", "autoscaler.resume", "ASR RESUME", "asr resume"),
    Button("services Log level", "POST", "/services/log-level", "log.level_set", "LOG LEVEL debug scheduler", "log level debug scheduler", {"level": "debug", "service": "scheduler"}),
    Button("tenants Add tenant", "POST", "/tenants", FILE, "TOKEN CREATE guest weight=2 expires=90d note=a guest", "token create guest --weight 2 --expires 90d --note guests", {"name": "guest", "weight": 2, "expires": "90d"}),
    Button("tenant Add token", "POST", "/tenants/survey/tokens", FILE, "TOKEN CREATE survey", "token create survey"),
    Button("tenant Change limits", "POST", "/tenants/survey", FILE, "TENANT SET survey weight=7 task-size=50GB labels=gpu", "tenant set survey --weight 7 --task-size 50GB --labels gpu", {"weight": 7, "max_task_bytes": "50GB", "labels": "gpu"}),
    Button("tenant Remove", "DELETE", "/tenants/survey", FILE, "TENANT REMOVE survey", "tenant remove survey"),
    Button("tenant Rotate", "POST", "/tokens/{token}/rotate", FILE, "TOKEN ROTATE {token} 12h", "token rotate {token} --overlap 12h", {"overlap": "12h"}),
    Button("tenant Revoke", "DELETE", "/tokens/{token}", FILE, "TOKEN REVOKE {token}", "token revoke {token}"),
)  # fmt: skip
EACH = pytest.mark.parametrize("button", BUTTONS, ids=[each.page for each in BUTTONS])


class World(SmallCluster):
    """A small cluster, with a file of tokens."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        super().__init__(folder)

    def acts(self) -> list[tuple[str, str]]:
        """What is on record of operators' acts, and what came of each."""
        told = [message for name, message in self.bus.published if name == "operator.acted"]
        return [(each.act, each.outcome) for each in told]

    def words(self, text: str) -> str:
        return text.replace("{token}", self.token)

    def file(self) -> Any:
        """The file without what differs from one making to the next."""
        known = read_file(self.path)
        tokens = sorted((each.tenant, each.id == self.token, each.expires_at_ms is not None) for each in known.tokens)
        return {tenant.name: tenant for tenant in known.tenants}, tokens


@asynccontextmanager
async def a_world(folder: Path) -> AsyncIterator[World]:
    world = World(folder)
    async with world.running():
        yield world


async def by_page(world: World, button: Button) -> None:
    app = web_app(world.bus, "", LoginThrottle(), admin_health(world.bus), tokens=world.store)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        headers = {"X-Requested-With": "tests"}
        path = f"/api/v1{world.words(button.path)}"
        answer = await client.request(button.method, path, json=dict(button.body) or None, headers=headers)
        assert answer.status_code == 200, answer.text


async def by_telnet(world: World, button: Button) -> None:
    acts = TenantActs(world.bus, world.store)
    said = "".join(await answer(world.bus, acts, world.words(button.telnet)))
    assert not said.startswith(("INVALID", "FAIL")), said
    assert '"success": false' not in said


async def by_command_line(world: World, button: Button) -> None:
    words = world.words(button.cli).split()
    if button.asks == FILE:
        assert token_words([*words, "--tokens", str(world.path)]) == 0
    else:
        await ask(world.bus, read(words, 100))


WAYS = {"page": by_page, "telnet": by_telnet, "command line": by_command_line}


@EACH
async def test_a_button_and_its_words_ask_for_the_same(button: Button, tmp_path: Path):
    files = []
    for name, way in WAYS.items():
        async with a_world(tmp_path / name) as world:
            await way(world, button)
            if button.asks == FILE:
                files.append(world.file())
                assert name == "command line" or world.acts() == [(button.act, "done")], name
            else:
                changed = [each for each in world.bus.asked if each != "operator.acted"]
                assert changed[-1] == button.asks, name
                assert world.acts() == [(button.act, "done")], name
    assert all(each == files[0] for each in files)


SENDS = re.compile(r"hx-(post|delete)=\"([^\"]+)\"|parts\.act\(\"(post|delete)\", ([^,]+),")
PLACE = re.compile(r"\{\{.*?\}\}|~ \(.*?\)|\+ ?\w+")


def buttons_of_pages() -> set[tuple[str, str]]:
    """Find what buttons and forms send: method and address, with `*` for what differs."""
    found: set[tuple[str, str]] = set()
    for path in sorted(TEMPLATES.glob("*.html")):
        text = path.read_text(encoding="utf-8")
        base = re.search(r"{% set href = (.*?) %}", text)
        for form_method, form, act_method, expression in SENDS.findall(text):
            if form_method and "{{ method }}" in f"hx-{form_method}":
                continue
            address = form or expression
            if base:
                address = re.sub(r"{{ href }}", address_of(base[1]), address)
                address = re.sub(r"^href\b", base[1], address)
            found.add(((form_method or act_method).upper(), address_of(address)))
    return {each for each in found if each[1].startswith("/api/v1")}


def address_of(expression: str) -> str:
    """Put a star for what differs, and join the rest."""
    starred = re.sub(r"\{\{.*?\}\}|\([^()]*\|quoted\)", "*", expression)
    return "".join(re.findall(r'[^"~\s]+', starred))


def test_every_button_of_every_page_has_its_row():
    rows = {
        (each.method, re.sub(f"{NODE}|{TASK}|{ENDED}|{WAITING}|{MACHINE}|survey|{{token}}", "*", f"/api/v1{each.path}"))
        for each in BUTTONS
    }
    found = buttons_of_pages()
    assert len(found) > 15, "they are found"
    assert found == rows


async def test_whoever_drains_a_node_gives_the_same_deadline_on_its_page_and_in_the_list(tmp_path: Path):
    async with a_world(tmp_path / "one") as world:
        app = web_app(world.bus, "", LoginThrottle(), admin_health(world.bus), tokens=world.store)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            [found] = (await client.get("/api/v1/nodes")).json()["items"]
            for path in ("/nodes", f"/nodes/{found['id']}"):
                text = (await client.get(path)).text
                form = re.search(rf'<form hx-post="/api/v1/nodes/{found["id"]}/drain".*?</form>', text, re.DOTALL)
                assert form, path
                assert '<input name="deadline_s"' in form[0]
                opened = re.search(r'<button[^>]*data-open="([^"]+)"[^>]*>Drain</button>', text)
                assert opened, path
                assert f'<dialog id="{opened[1]}"' in text


@EACH
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_who_lacks_a_role_is_told_which_one_it_takes(button: Button, role: Role, tmp_path: Path):
    admins = button.asks in {FILE, "scheduler.add_node", "scheduler.remove_node", "autoscaler.destroy_machine"}
    needed = Role.ADMIN if admins else Role.OPERATOR
    async with a_world(tmp_path / "one") as world:
        passwords = Passwords({each: f"{each.word}-pw" for each in Role})
        app = web_app(world.bus, passwords, LoginThrottle(), admin_health(world.bus), tokens=world.store)
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", auth=(role.word, f"{role.word}-pw")
        )
        async with client:
            path, headers = f"/api/v1{world.words(button.path)}", {"X-Requested-With": "tests"}
            said = await client.request(button.method, path, json=dict(button.body) or None, headers=headers)
    refused = f"this needs the role {needed.word}; you are {role.word}"
    assert (said.status_code, said.json().get("error")) == ((403, refused) if role < needed else (200, None))
