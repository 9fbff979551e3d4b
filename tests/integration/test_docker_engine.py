"""The provider `docker` on a real engine: the same contract, and a container that really answers."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from docker.models.containers import Container
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.image import DockerImage

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.boot_lines import BootLines
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_engine import DockerEngineVendor
from tests.e2e.composition import docker_trouble
from tests.waiting import until

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "node-token-7c9e"
NODE = """
import http.server, json, sys
print("node begins", flush=True)
print("node warns", file=sys.stderr, flush=True)
token = sys.argv[sys.argv.index("--token") + 1]
class Node(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = {"version": "2.2.4"} if self.path == f"/info?token={token}" else {"error": "Invalid authentication token"}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 3000), Node).serve_forever()
"""
DOCKERFILE = 'FROM python:3.11-slim-bookworm\nCOPY node.py /node.py\nENTRYPOINT ["python", "/node.py"]\n'


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerImage]:
    """An image that takes NodeODM's flags."""
    if trouble := docker_trouble():
        pytest.skip(f"no Docker engine ({trouble})")
    folder = tmp_path_factory.mktemp("image")
    (folder / "node.py").write_text(NODE)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    with DockerImage(folder, tag=f"clusterodm-test-node:{uuid.uuid4().hex[:8]}", rm=True) as built:
        yield built


@pytest.fixture(scope="module")
def engine(image: DockerImage) -> DockerClient:
    """The engine, as testcontainers reaches it: what the provider has made is looked at by somebody else's words."""
    return image.get_docker_client()


def containers_named(engine: DockerClient, name: str) -> list[Container]:
    return engine.client.containers.list(all=True, filters={"name": name})


@pytest.fixture
async def provider() -> AsyncIterator[BootedProvider]:
    async with BootedProvider(
        DockerEngineVendor(CloudSettings(), os.environ),
        poll_s=0.2,
        set_up_wait_s=30,
        removal_wait_s=30,
        recheck_s=0.5,
    ) as found:
        yield found


@pytest.fixture
async def order(image: DockerImage, provider: BootedProvider) -> AsyncIterator[Order]:
    cluster = f"t{uuid.uuid4().hex[:8]}"
    name = MachineId(f"clusterodm-{cluster}-50-abc")
    launch = Launch(image=str(image), token=Secret(TOKEN))
    offer = Offer(size=Size(slug="any", max_images=50, memory_bytes=64_000_000))
    found = Order(name=name, offer=offer, launch=launch, tags={"clusterodm-cluster": cluster})
    yield found
    await provider.destroy(name, "")


async def test_a_container_is_created_answers_and_is_gone(provider: BootedProvider, order: Order, engine: DockerClient):
    prefix = str(order.name).removesuffix("50-abc")
    await provider.check()
    up = await provider.set_up(order, await provider.create(order))
    assert await answer(up.address, up.port, TOKEN) == {"version": "2.2.4"}
    assert "error" in await answer(up.address, up.port, "other")
    assert [each.name for each in await provider.list(prefix)] == [order.name]
    assert (await provider.create(order)).ref == up.ref
    (made,) = containers_named(engine, order.name)
    assert prefix == f"clusterodm-{made.labels['clusterodm-cluster']}-"
    await provider.destroy(order.name, up.ref)
    assert await provider.inspect(order.name) is None
    assert list(await provider.list(prefix)) == []
    assert containers_named(engine, order.name) == []


async def test_what_a_container_says_while_it_boots_is_read(provider: BootedProvider, order: Order):
    lines = BootLines()
    listened = replace(order, boot=lines.of(order.name))
    await provider.set_up(listened, await provider.create(listened))
    assert {"node begins", "node warns"} <= set(lines.take(order.name).own)  # two streams, in whatever order they come


async def answer(address: str, port: int, token: str) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=f"http://{address}:{port}", timeout=5) as client:

        async def asked() -> httpx.Response | None:
            try:
                return await client.get(f"/info?token={token}")
            except httpx.HTTPError:
                return None

        return (await until(asked)).json()


async def test_a_container_that_was_created_and_never_started_is_started(
    provider: BootedProvider, order: Order, image: DockerImage, engine: DockerClient
):
    engine.create(str(image), ["--token", TOKEN], name=order.name, labels={"clusterodm.machine": order.name})
    found = await provider.inspect(order.name)
    assert found is not None
    assert not found.running
    await provider.create(order)
    await until(lambda: running(provider, order.name))


async def running(provider: BootedProvider, name: MachineId) -> bool:
    found = await provider.inspect(name)
    return found is not None and found.running


async def test_the_secrets_of_a_node_are_in_no_process_of_this_computer(provider: BootedProvider, order: Order):
    await provider.create(order)
    shown = [each for each in command_lines() if TOKEN.encode() in each and b"/node.py" not in each]
    assert shown == []


def command_lines() -> list[bytes]:
    return [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]


async def test_a_name_that_somebody_else_has_taken_is_told(
    provider: BootedProvider, order: Order, image: DockerImage, engine: DockerClient
):
    theirs = engine.create(str(image), ["--token", "x"], name=order.name)
    try:
        with pytest.raises(ProviderFailed, match="already in use") as caught:
            await provider.create(order)
        assert caught.value.trouble is Trouble.UNKNOWN_OUTCOME
        await provider.destroy(order.name, "")
        assert containers_named(engine, order.name) != []
    finally:
        theirs.remove(force=True)


async def test_an_image_that_exists_nowhere_is_refused(provider: BootedProvider, order: Order):
    launch = Launch(image=f"clusterodm-test-nothing-{uuid.uuid4().hex}:none", token=Secret(TOKEN))
    with pytest.raises(ProviderFailed, match=r"/images/create|clusterodm-test-nothing"):
        await provider.create(Order(name=order.name, offer=order.offer, launch=launch))
    assert await provider.inspect(order.name) is None
