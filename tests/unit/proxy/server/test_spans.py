"""Spans of clients' requests."""

from collections.abc import Iterator
from typing import Any

import pytest

from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.telemetry.tracing import Spans, TraceSpan, of_task, read
from clusterodm.libs.common.tenancy import Tenant
from clusterodm.services.proxy.exchange.limits import BodyLimits
from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.server.spans import RequestSpan, TraceOf, begun

TASK = TaskId("6f9619ff-8b86-4011-b42d-00c04fc964ff")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def told() -> Iterator[list[TraceSpan]]:
    spans: list[TraceSpan] = []
    Spans.export = spans.append
    yield spans
    Spans.export = None


def exchange(path: str, method: str = "POST", trace: str = "", *, admitted: bool = True) -> RequestContext:
    scope: dict[str, Any] = {
        "method": method,
        "path": path,
        "query_string": b"token=s3cret",
        "headers": [(b"traceparent", trace.encode())] if trace else [],
        "scheme": "http",
        "http_version": "1.1",
    }

    async def never(*_: Any) -> Any:
        raise AssertionError

    made = RequestContext(scope, never, never, BodyLimits())
    made.tenant = Tenant(name="acme") if admitted else None
    made.status = 200
    return made


def held(_task: TaskId, owner: Owner) -> str | None:
    return "" if owner == "acme" else None


def unknown(_task: TaskId, _owner: Owner) -> str | None:
    return None


def admitted(asked: RequestContext, trace_of: TraceOf) -> RequestSpan:
    """Begin the span of a request, and let its token be found right."""
    span = begun(asked, trace_of)
    assert span is not None
    if asked.heard_tenant is not None:
        asked.heard_tenant()
    return span


@pytest.mark.parametrize(
    ("path", "method", "route"),
    [
        (f"/task/new/upload/{TASK}", "POST", "/task/new/upload/{uuid}"),
        (f"/task/new/commit/{TASK}", "POST", "/task/new/commit/{uuid}"),
        (f"/task/{TASK}/download/all.zip", "GET", "/task/{uuid}/download/{asset}"),
    ],
)
def test_a_request_about_a_task_is_below_its_root(told: list[TraceSpan], path: str, method: str, route: str):
    admitted(exchange(path, method), held).end(0.5)
    [seen] = told
    assert (seen.name, seen.parent) == (f"{method} {route}", of_task(TASK, ""))
    assert seen.end_ns - seen.begin_ns == 500_000_000
    assert seen.attributes["clusterodm.task.id"] == TASK
    assert "s3cret" not in repr(seen)


def test_init_belongs_to_its_task_once_that_is_known(told: list[TraceSpan]):
    asked = exchange("/task/new/init")
    span = begun(asked, unknown)
    assert span is not None
    asked.is_about(TASK)
    span.end(0.1)
    assert [(each.name, each.parent) for each in told] == [("POST /task/new/init", of_task(TASK, ""))]
    assert asked.trace == ""


def test_a_clients_own_trace_is_kept_for_the_task(told: list[TraceSpan]):
    asked = exchange("/task/new/init", trace=TRACE)
    span = begun(asked, unknown)
    assert span is not None
    asked.is_about(TASK)
    span.end(0.1)
    assert (told[0].parent, asked.trace) == (read(TRACE), TRACE)


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        pytest.param(exchange(f"/task/{TASK}/info", "GET"), held, id="a poll"),
        pytest.param(exchange("/info", "GET", trace=TRACE), held, id="a poll with a trace"),
        pytest.param(exchange(f"/task/new/upload/{TASK}"), unknown, id="an upload that is held elsewhere"),
        pytest.param(exchange("/task/new/init"), unknown, id="an init that came to nothing"),
        pytest.param(exchange("/task/new/init", trace=TRACE, admitted=False), unknown, id="a wrong token"),
        pytest.param(exchange(f"/task/new/upload/{TASK}", trace="0" * 10**6, admitted=False), unknown, id="no header"),
    ],
)
def test_what_belongs_to_no_trace_has_no_span(told: list[TraceSpan], asked: RequestContext, known: Any):
    span = begun(asked, known)
    if asked.heard_tenant is not None:
        asked.heard_tenant()
    if span is not None:
        span.find_trace()
        span.end(0.1)
    assert told == []


@pytest.mark.parametrize(
    ("path", "method"),
    [
        pytest.param(f"/task/{TASK}/download/all.zip", "GET", id="a download"),
        pytest.param(f"/task/new/upload/{TASK}", "POST", id="an upload"),
        pytest.param(f"/task/new/commit/{TASK}", "POST", id="a commit"),
    ],
)
def test_what_another_asks_of_a_task_is_not_in_its_trace(told: list[TraceSpan], path: str, method: str):
    asked = exchange(path, method)
    asked.tenant = Tenant(name="another")
    span = admitted(asked, held)
    asked.status = 404
    span.find_trace()
    span.end(0.1)
    assert told == []


def test_the_first_download_of_a_task_belongs_to_its_trace_although_it_had_still_to_be_found(told: list[TraceSpan]):
    found: list[TaskId] = []

    def known(task: TaskId, owner: Owner) -> str | None:
        return TRACE if task in found and owner == "acme" else None

    span = admitted(exchange(f"/task/{TASK}/download/all.zip", "GET"), known)
    assert span.trace_id == 0
    found.append(TASK)
    span.find_trace()
    assert span.trace_id == of_task(TASK, TRACE).trace_id
    span.end(0.1)
    assert [each.parent for each in told] == [of_task(TASK, TRACE)]


@pytest.mark.parametrize(("status", "error"), [(200, ""), (404, ""), (500, "500"), (0, "closed without an answer")])
def test_only_what_is_our_fault_is_an_error(told: list[TraceSpan], status: int, error: str):
    asked = exchange(f"/task/new/commit/{TASK}")
    span = admitted(asked, held)
    asked.status = status
    span.end(0.1)
    assert told[0].error == error
