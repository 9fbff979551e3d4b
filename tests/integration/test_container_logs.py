"""What containers say while they boot: read at a Docker engine and at a Kubernetes API server, passed on, and never in the way of the machine."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from clusterodm.libs.machinesim.cloud_api_machines import CONTAINER_LINES
from clusterodm.libs.machinesim.cloud_api_testing import serving
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import ProviderMachine, Size
from clusterodm.services.autoscaler.providers.adapters.docker_engine import (
    BOOT_LOG_BYTES,
    DockerEngineVendor,
    log_lines,
)
from tests.cloud_accounts import NAME, booted
from tests.cloud_accounts import order as ordered_at
from tests.integration.test_kubernetes_provider import cluster, of
from tests.integration.test_kubernetes_provider import vendor as kubernetes


class Heard:
    """Where a boot is heard of."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.own: list[str] = []

    def said(self, line: str) -> None:
        self.lines.append(line)

    def shows(self, lines: Sequence[str]) -> None:
        self.own = list(lines)


async def test_a_pods_log_is_read_until_its_node_answers():
    heard = Heard()
    async with cluster() as (_, provider):
        ordered = replace(of("small"), boot=heard)
        await provider.set_up(ordered, await provider.create(ordered))
    assert heard.own == list(CONTAINER_LINES)
    assert heard.lines == []


async def test_a_right_that_is_missing_is_said_once_and_the_machine_comes_up_all_the_same():
    heard = Heard()
    async with cluster() as (api, provider):
        api.denied.add(("get", "pods/log"))
        ordered = replace(of("small"), boot=heard)
        up = await provider.set_up(ordered, await provider.create(ordered))
        assert up.address
    (line,) = heard.lines
    assert 'cannot get resource "pods/log"' in line


async def test_a_pod_that_has_not_begun_or_is_gone_has_no_log():
    async with serving("kubernetes") as served:
        api: Any = served.kind
        vendor = kubernetes(served.url)
        async with vendor:
            assert await vendor.boot_log(ProviderMachine(name=NAME)) == []
            api.rent(NAME)
            assert await vendor.boot_log(ProviderMachine(name=NAME)) == []


async def test_a_containers_log_is_read_at_its_engine():
    heard = Heard()
    async with serving("docker") as served:
        vendor = DockerEngineVendor(CloudSettings(endpoint=served.url), {})
        async with booted(vendor) as provider:
            order = replace(ordered_at("", Size(slug="any", max_images=50)), boot=heard)
            await provider.set_up(order, await provider.create(order))
            assert list(await vendor.boot_log(ProviderMachine(name=NAME, ref="f" * 64))) == []
    assert heard.own == list(CONTAINER_LINES)


def piece(way: int, text: str) -> bytes:
    content = text.encode()
    return bytes((way, 0, 0, 0)) + len(content).to_bytes(4, "big") + content


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        pytest.param(b"", [], id="nothing yet"),
        pytest.param(piece(1, "out\n") + piece(2, "err\n"), ["out", "err"], id="both ways out"),
        pytest.param(piece(1, "in two ") + piece(1, "pieces\n"), ["in two pieces"], id="a line in pieces"),
        pytest.param(piece(1, "whole\n") + piece(1, "not end"), ["whole"], id="a line that has not ended"),
        pytest.param(piece(1, "whole\n") + piece(1, "cut off\n")[:10], ["whole"], id="read no further"),
        pytest.param(b"of a terminal\r\nsecond\r\n", ["of a terminal\r", "second\r"], id="a terminal"),
    ],
)
def test_the_pieces_of_a_containers_log_are_put_together(content: bytes, lines: list[str]):
    assert log_lines(content) == lines


async def test_of_a_log_without_end_the_beginning_is_read():
    def endless(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/containers/c1/logs"
        return httpx.Response(200, content=piece(1, f"{'x' * 1000}\n") * 1000)

    vendor = DockerEngineVendor(CloudSettings(endpoint="http://e"), {}, transport=httpx.MockTransport(endless))
    lines = await vendor.boot_log(ProviderMachine(name=NAME, ref="c1"))
    assert len(lines) == BOOT_LOG_BYTES // 1009
