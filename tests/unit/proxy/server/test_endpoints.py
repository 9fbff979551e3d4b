"""Requests are counted by endpoints, of which there are few."""

import pytest

from clusterodm.services.proxy.metrics import HTTP_RECEIVED, HTTP_REQUESTS, HTTP_SECONDS, HTTP_SENT
from clusterodm.services.proxy.server.endpoints import endpoint_of
from clusterodm.services.proxy.server.meter import RequestMeter

TASK = "5b3a1c6e-8f0d-4e7a-9a51-0c2f6d1b7e44"


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("GET", "/info", "/info"),
        ("GET", "/options", "/options"),
        ("GET", f"/task/{TASK}/info", "/task/{uuid}/info"),
        ("GET", f"/task/{TASK}/output", "/task/{uuid}/output"),
        ("GET", f"/task/{TASK}/download/all.zip", "/task/{uuid}/download/{asset}"),
        ("GET", f"/task/{TASK}/download/a/../../b", "/task/{uuid}/download/{asset}"),
        ("POST", "/task/new", "/task/new"),
        ("POST", "/task/new/init", "/task/new/init"),
        ("POST", f"/task/new/upload/{TASK}", "/task/new/upload/{uuid}"),
        ("POST", f"/task/new/commit/{TASK}", "/task/new/commit/{uuid}"),
        ("POST", "/task/cancel", "/task/cancel"),
        ("POST", "/commit", "/commit"),
        ("GET", "/", "page"),
        ("GET", "/style.css", "page"),
        ("GET", f"/task/{TASK}/{TASK}", "other"),
        ("GET", f"/{TASK}", "other"),
        ("GET", "/metrics", "other"),
    ],
)
def test_no_id_becomes_a_label(method: str, path: str, endpoint: str):
    assert endpoint_of(method, path) == endpoint


def test_a_request_is_counted_with_its_bytes_and_its_time():
    meter = RequestMeter().of("/options")
    code, dropped = ("/options", "200"), ("/options", "dropped")
    before = HTTP_REQUESTS.values.get(code, 0), HTTP_REQUESTS.values.get(dropped, 0)
    received, sent = HTTP_RECEIVED.values["/options",], HTTP_SENT.values["/options",]
    total = HTTP_SECONDS.of("/options").total
    meter.count(200, 0.5, 10, 20)
    meter.count(0, 0.25, 1, 2)
    assert (HTTP_REQUESTS.values[code], HTTP_REQUESTS.values[dropped]) == (before[0] + 1, before[1] + 1)
    assert (HTTP_RECEIVED.values["/options",], HTTP_SENT.values["/options",]) == (received + 11, sent + 22)
    assert HTTP_SECONDS.of("/options").total == total + 0.75
