"""The document of `/api/v1` has all of its routes, and says what each answers to whom."""

from typing import Any

import pytest
from starlette.routing import Route

from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.app import WebDependencies, web_application
from tests.fake_scheduler import admin_health

ABOUT_THE_API = {"/api/v1/openapi.json", "/api/v1/docs"}


@pytest.fixture(scope="module")
def application() -> Any:
    bus = MemoryBus()
    return web_application(WebDependencies(bus, Watched(bus), admin_health(bus), (), False, None))


@pytest.fixture(scope="module")
def document(application: Any) -> Any:
    pages = next(route for route in application.routes if getattr(route, "path", "") == "/api/v1/openapi.json")
    return next(cell.cell_contents for cell in pages.endpoint.__closure__ if isinstance(cell.cell_contents, dict))


def test_every_route_of_the_api_is_in_the_document(application: Any, document: Any):
    routes = {
        (route.path, method.lower())
        for included in application.routes
        for route in getattr(getattr(included, "original_router", None), "routes", [included])
        if isinstance(route, Route) and route.path.startswith("/api/v1") and route.path not in ABOUT_THE_API
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == routes


def test_every_operation_says_that_somebody_may_have_to_sign_in(document: Any):
    silent = [
        (path, method)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "401" not in operation["responses"]
    ]
    assert silent == []


def test_what_is_no_json_is_said(document: Any):
    kinds = {
        path: list(methods["get"]["responses"]["200"]["content"])
        for path, methods in document["paths"].items()
        if path.endswith((".txt", "/stream"))
    }
    assert sorted(kinds.values()) == [["text/event-stream"], ["text/plain"], ["text/plain"]]
