"""Tenants, their tokens and their usage by `/api/v1` and pages, in front of a file and a bus in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.messages.usage import GetUsage, UsageBy, UsageRow, Used
from clusterodm.libs.common.model.values import Owner
from clusterodm.libs.common.tenancy import digest_of
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.tenants.adapters import TokensFileStore, read_file
from clusterodm.services.admin.web.api.guard import web_app
from tests.fake_scheduler import FakeScheduler, admin_health

LOUD = {"X-Requested-With": "tests"}
USED = Used(completed_count=4, images_count=70, node_ms=7000)


class Site:
    """What a test looks at."""

    def __init__(self, bus: MemoryBus, path: Path, scheduler: FakeScheduler) -> None:
        self.bus, self.path, self.scheduler = bus, path, scheduler
        self.client: httpx.AsyncClient

    def acts(self) -> list[tuple[str, str, str]]:
        """List what is on record of operators' acts."""
        told = [message for name, message in self.bus.published if name == "operator.acted"]
        return [(each.act, each.target, each.outcome) for each in told]


@asynccontextmanager
async def a_site(tmp_path: Path, *, kept: bool = True, user: str = "") -> AsyncIterator[Site]:
    bus, scheduler = MemoryBus(), FakeScheduler()
    site = Site(bus, tmp_path / "tokens.json", scheduler)
    scheduler.usage = [UsageRow(tenant="survey", owner=Owner("survey"), period="2026-11", used=USED)]
    passwords = Passwords({Role.ADMIN: "a-pass", Role.OPERATOR: "o-pass", Role.VIEWER: "v-pass"} if user else {})
    store = TokensFileStore(site.path) if kept else None
    app = web_app(bus, passwords, LoginThrottle(), admin_health(bus), tokens=store)
    async with (
        bus.serve("scheduler", scheduler.handlers()),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://localhost",
            headers=LOUD,
            auth=(user, f"{user[0]}-pass") if user else None,
        ) as site.client,
    ):
        yield site


async def test_a_tenant_that_is_there_is_not_begun_again(tmp_path: Path):
    async with a_site(tmp_path) as site:
        asked = {"name": "survey", "weight": 3}
        assert (await site.client.post("/api/v1/tenants", json=asked)).status_code == 200
        before = read_file(site.path)
        again = await site.client.post("/api/v1/tenants", json=asked | {"weight": 9})
        assert (again.status_code, again.json()) == (409, {"error": "there is a tenant 'survey' already"})
        assert read_file(site.path) == before
        assert [outcome for _, _, outcome in site.acts()] == ["done", "refused"]


async def test_a_tenant_comes_and_goes_and_its_secrets_are_shown_once(tmp_path: Path):
    async with a_site(tmp_path) as site:
        made = await site.client.post(
            "/api/v1/tenants", json={"name": "survey", "weight": "3", "max_task_bytes": "50GB", "expires": "30d"}
        )
        assert made.status_code == 200, made.text
        secret, id_ = made.json()["secret"], made.json()["id"]
        file = read_file(site.path)
        assert [token.sha256 for token in file.tokens] == [digest_of(secret)]
        assert (file.tenants[0].weight, file.tenants[0].max_task_bytes) == (3, 50 * 10**9)

        assert (await site.client.post("/api/v1/tenants/survey", json={"tasks_at_once_count": 2})).status_code == 200
        for labels in (["gpu", "big"], "gpu, big", "gpu big"):
            assert (await site.client.post("/api/v1/tenants/survey", json={"labels": labels})).status_code == 200
            assert read_file(site.path).tenants[0].labels == ("gpu", "big")
        assert 'search=gpu">gpu</a>' in (await site.client.get("/tenants/survey")).text
        wrong = await site.client.post("/api/v1/tenants/survey", json={"labels": "tenant="})
        assert (wrong.status_code, "is no label" in wrong.json()["error"]) == (409, True)
        assert (await site.client.post("/api/v1/tenants/survey", json={"labels": ""})).status_code == 200
        assert read_file(site.path).tenants[0].labels == ()
        more = (await site.client.post("/api/v1/tenants/survey/tokens", json={"note": "night"})).json()
        turned = (await site.client.post(f"/api/v1/tokens/{id_}/rotate", json={"overlap": "0s"})).json()
        listed = (await site.client.get("/api/v1/tenants")).json()
        assert [(row["name"], row["tokens_count"], row["used"]["tasks"]) for row in listed["items"]] == [
            ("survey", 2, 4)
        ]
        shown = await site.client.get("/api/v1/tenants/survey")
        assert {each["id"] for each in shown.json()["tokens"]} == {more["id"], turned["id"]}
        page = await site.client.get("/tenants/survey")
        for text in (shown.text, page.text, (await site.client.get("/tenants")).text, str(site.bus.published)):
            for made_secret in (secret, more["secret"], turned["secret"]):
                assert made_secret not in text
                assert digest_of(made_secret) not in text

        assert (await site.client.delete(f"/api/v1/tokens/{turned['id'][:4]}")).status_code == 404, "it must be whole"
        assert (await site.client.delete(f"/api/v1/tokens/{turned['id']}")).status_code == 200
        assert (await site.client.delete("/api/v1/tenants/survey")).status_code == 200
        assert read_file(site.path).tenants == ()
        assert [act for act, _, _ in site.acts()] == [
            *(
                "TOKEN CREATE",
                *["TENANT SET"] * 6,
                "TOKEN CREATE",
                "TOKEN ROTATE",
                "TOKEN REVOKE",
                "TOKEN REVOKE",
                "TENANT REMOVE",
            ),
        ]


WRONG = [
    ("POST", "tenants", {"name": "Big Name"}, 409, "no name of a tenant"),
    ("POST", "tenants", {"name": "x", "weight": 0}, 422, "weight"),
    ("POST", "tenants", {"name": "x", "max_task_bytes": "50"}, 409, "no size"),
    ("POST", "tenants", {"name": "x", "expires": "soon"}, 409, "no duration"),
    ("POST", "tenants", {"name": "x", "wait": 1}, 422, "wait"),
    ("POST", "tenants/nobody", {"weight": 2}, 404, "no tenant"),
    ("POST", "tenants/nobody/tokens", {}, 404, "no such tenant"),
    ("POST", "tokens/ffff/rotate", {}, 404, "no token"),
    ("DELETE", "tokens/ffff", None, 404, "no token"),
    ("DELETE", "tenants/nobody", None, 404, "no tenant"),
    ("GET", "tenants/nobody", None, 404, "no such tenant"),
    ("GET", "usage?since=2026-02-30", None, 409, "no such day"),
    ("GET", "usage?since=today", None, 422, "since"),
]


async def test_what_is_wrong_is_said_and_changes_nothing(tmp_path: Path):
    async with a_site(tmp_path) as site:  # one for all: to make a site takes longer than to ask it
        for method, path, body, code, said in WRONG:
            answer = await site.client.request(method, f"/api/v1/{path}", json=body)
            assert (answer.status_code, said in answer.json()["error"]) == (code, True), (path, answer.text)
            assert read_file(site.path).tenants == ()


@pytest.mark.parametrize(("user", "code"), [("admin", 200), ("operator", 403), ("viewer", 403)])
async def test_only_an_administrator_makes_tokens(tmp_path: Path, user: str, code: int):
    async with a_site(tmp_path, user=user) as site:
        assert (await site.client.get("/api/v1/tenants")).status_code == 200
        answer = await site.client.post("/api/v1/tenants", json={"name": "survey"})
        assert answer.status_code == code
        assert bool(read_file(site.path).tenants) == (code == 200)
        if user == "operator":
            assert site.acts() == [("TOKEN CREATE", "survey", "refused")]


async def test_another_sites_page_makes_no_token(tmp_path: Path):
    async with a_site(tmp_path) as site:
        for headers in ({"X-Requested-With": ""}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
            answer = await site.client.post("/api/v1/tenants", json={"name": "survey"}, headers=headers)
            assert answer.status_code == 403
        assert not site.path.exists()


async def test_without_a_file_the_page_says_how_to_begin_one(tmp_path: Path):
    async with a_site(tmp_path, kept=False) as site:
        assert "clusterodm token create" in (await site.client.get("/tenants")).text
        assert (await site.client.get("/api/v1/tenants")).json()["kept"] is False
        assert (await site.client.post("/api/v1/tenants", json={"name": "x"})).status_code == 409


async def test_tenants_are_searched_sorted_and_paged_by_the_server(tmp_path: Path):
    async with a_site(tmp_path) as site:
        for number in range(5):
            await site.client.post("/api/v1/tenants", json={"name": f"t{number}", "weight": 5 - number})
        query = {"sort": "weight", "order": "asc", "per_page": 2, "page": 2}
        found = (await site.client.get("/api/v1/tenants", params=query)).json()
        assert ([row["name"] for row in found["items"]], found["total_count"]) == (["t2", "t1"], 5)
        found = (await site.client.get("/api/v1/tenants", params={"search": "T3"})).json()
        assert [row["name"] for row in found["items"]] == ["t3"]


async def test_usage_is_json_and_csv(tmp_path: Path):
    async with a_site(tmp_path) as site:
        found = (await site.client.get("/api/v1/usage", params={"tenant": "survey", "by": "day"})).json()
        assert (found["items"][0]["images"], found["total"]["node_seconds"]) == (70, 7.0)
        assert site.scheduler.asked[-1] == GetUsage(tenant="survey", by=UsageBy.DAY, limit_count=50)
        answer = await site.client.get("/api/v1/usage", params={"format": "csv"})
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.text.splitlines()[1] == "survey,survey,2026-11,4,4,0,0,70,0,7.0,0.0"
        assert "survey" in (await site.client.get("/usage")).text
