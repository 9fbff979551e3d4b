"""Tokens that somebody else checks: over HTTP as the original's provider does it, and over the bus."""

import json
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.tenants import CHECK_TOKEN, CheckToken, TokenChecked
from clusterodm.libs.common.tenancy import shown
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.tenants.adapters.http_authority import LIGHTNING_INFO, HttpAuthority
from clusterodm.services.proxy.tenants.adapters.remote import BusAuthority, Unanswered
from tests.proxies import MULTIPART, ScriptedNode, multipart, response, running_proxy

pytestmark = pytest.mark.slow


def url_of(script: ScriptedNode) -> str:
    return f"http://127.0.0.1:{script.port}/r"


LIMITS = {"maxImages": 5, "maxConcurrentTasks": 2, "options": {"split": {"domain": "integer > 3", "new": 1}}}


async def test_a_token_is_validated_as_the_original_does() -> None:
    async with ScriptedNode().at_work() as script:
        script.say_json("/r/tokens/validate", {"valid": True, "limits": LIMITS, "more": [1]})
        tenant = await HttpAuthority(url_of(script), 3.0, lightning=True).validate("sesame")
    assert tenant is not None
    assert (tenant.max_images_count, tenant.tasks_at_once_count) == (5, 2)
    assert tenant.options["split"].domain == "integer > 3"
    assert tenant.account == shown("sesame").owner
    assert script.requests[0].startswith("POST /r/tokens/validate HTTP/1.1")


@pytest.mark.parametrize(
    ("said", "account"),
    [
        pytest.param({"valid": False}, None, id="not valid"),
        pytest.param({}, None, id="nothing"),
        pytest.param({"valid": True, "limits": []}, shown("sesame").owner, id="no limits"),
        pytest.param({"valid": True, "tenant": "survey", "weight": 3}, "survey", id="a tenant"),
    ],
)
async def test_what_is_said_of_a_token_is_understood(said: dict[str, Any], account: str | None) -> None:
    async with ScriptedNode().at_work() as script:
        script.say_json("/r/tokens/validate", said)
        tenant = await HttpAuthority(url_of(script), 3.0).validate("sesame")
    assert (tenant.account if tenant else None) == account


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(response(b"{"), id="nonsense"),
        pytest.param(response(b'{"valid": "yes"}'), id="another shape"),
        pytest.param(response(b'{"valid": true, "tenant": "A B"}'), id="a name that is none"),
        pytest.param(response(b"{}", "500 Error"), id="an error"),
        pytest.param(response(b"", "302 Found", "location: http://127.0.0.1:1/"), id="a redirect"),
        pytest.param(response(b" " * (2 << 20)), id="without end"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_an_answer_that_is_none_is_no_answer_and_names_no_token(answer: bytes) -> None:
    async with ScriptedNode().at_work() as script:
        script.keep_open = False
        script.say("/r/tokens/validate", answer)
        with pytest.raises(Unanswered) as unanswered:
            await HttpAuthority(url_of(script), 0.5).validate("sesame")
    assert "sesame" not in unanswered.value.message


async def test_a_task_is_approved_and_its_end_is_told() -> None:
    async with ScriptedNode().at_work() as script:
        authority = HttpAuthority(url_of(script), 3.0, lightning=True)
        script.say_json("/r/tasks/approve", {"approved": True, "error": ""})
        await authority.approve("sesame", 3)
        script.say_json("/r/tasks/approve", {"approved": False, "error": "Not enough credits"})
        with pytest.raises(Refused, match="Not enough credits"):
            await authority.approve("sesame", 3)
        script.say_json("/r/tasks/approve", {}, "500 Error")
        with pytest.raises(Refused, match="Please contact support"):
            await authority.approve("sesame", 3)
        script.say_json("/r/tasks/finished", {"credits_used": 5})
        await authority.finished("sesame", {"uuid": "a"})
        script.say_json("/r/tasks/finished", {"error": "later"})
        with pytest.raises(Unanswered):
            await authority.finished("sesame", {"uuid": "a"})


async def test_who_does_not_want_to_be_asked_about_tasks_says_that_there_is_no_such_address() -> None:
    async with ScriptedNode().at_work() as script:
        authority = HttpAuthority(url_of(script), 3.0)
        script.say_json("/r/tasks", {}, "404 Not Found")
        await authority.approve("sesame", 3)
        await authority.finished("sesame", {"uuid": "a"})


async def test_an_integration_on_the_bus_says_for_whom_a_token_speaks() -> None:
    bus = MemoryBus()

    async def check(asked: CheckToken) -> TokenChecked:
        if asked.token == "odd":
            return TokenChecked(tenant="A B")
        return TokenChecked(tenant="survey", weight=3) if asked.token == "sesame" else TokenChecked()

    authority = BusAuthority(bus)
    with pytest.raises(Unanswered):
        await authority.validate("sesame")
    async with bus.serve("auth", {CHECK_TOKEN: check}):
        tenant = await authority.validate("sesame")
        assert tenant is not None
        assert (tenant.account, tenant.weight) == ("survey", 3)
        assert await authority.validate("wrong") is None
        with pytest.raises(Unanswered, match="nonsense"):
            await authority.validate("odd")


async def test_a_proxy_lets_in_whom_an_authority_knows_and_says_where_to_log_in(tmp_path: Path) -> None:
    async with ScriptedNode().at_work() as script:
        script.say_json("/r/tokens/validate", {"valid": True, "limits": LIMITS})
        script.say_json("/r/tasks/approve", {"approved": False, "error": "Not enough credits"})
        async with running_proxy(
            tmp_path / "one", cloud_provider="lightning", cloud_provider_url=url_of(script)
        ) as proxy:
            assert await proxy.json("GET", "/auth/info") == (200, json.loads(json.dumps(dict(LIGHTNING_INFO))))
            assert (await proxy.ask("GET", "/info"))[0] == 401
            assert (await proxy.json("GET", "/info?token=sesame"))[1]["maxImages"] == 5
            task = (await proxy.form("/task/new/init?token=sesame", name="mine"))[1]["uuid"]
            assert proxy.spool.draft(task).account == "sesame"
            parts = [('name="images"; filename="a.jpg"', b"jpeg")]
            await proxy.json("POST", f"/task/new/upload/{task}?token=sesame", multipart(parts), MULTIPART)
            _, said = await proxy.json("POST", f"/task/new/commit/{task}?token=sesame")
            assert said == {"error": "Not enough credits"}
            script.say_json("/r/tokens/validate", {"valid": False})
            assert (await proxy.ask("GET", "/info?token=another"))[0] == 401


async def test_where_nobody_can_say_a_client_is_asked_to_come_again_and_a_poll_is_not_told(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "one", cloud_provider="http", cloud_provider_url="http://127.0.0.1:9") as proxy:
        assert (await proxy.ask("GET", "/info?token=sesame"))[0] == 503
        task = "11111111-2222-4333-8444-555555555555"
        assert await proxy.raw(f"GET /task/{task}/info?token=sesame HTTP/1.1\r\nhost: x\r\n\r\n".encode()) == b""
