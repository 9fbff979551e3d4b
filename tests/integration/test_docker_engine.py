"""The provider `docker` on a real engine: the same contract, and a container that really answers."""

import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_engine import DockerEngineVendor
from tests.waiting import until

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "node-token-7c9e"
NODE = """
import http.server, json, sys
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


def docker(*words: str) -> str:
    ran = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image that takes NodeODM's flags."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine here")
    folder = tmp_path_factory.mktemp("image")
    (folder / "node.py").write_text(NODE)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    name = f"clusterodm-test-node:{uuid.uuid4().hex[:8]}"
    docker("build", "-q", "-t", name, str(folder))
    yield name
    docker("rmi", "-f", name)


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
async def order(image: str, provider: BootedProvider) -> AsyncIterator[Order]:
    cluster = f"t{uuid.uuid4().hex[:8]}"
    name = MachineId(f"clusterodm-{cluster}-50-abc")
    launch = Launch(image=image, token=Secret(TOKEN))
    offer = Offer(size=Size(slug="any", max_images=50, memory_bytes=64_000_000))
    found = Order(name=name, offer=offer, launch=launch, tags={"clusterodm-cluster": cluster})
    yield found
    await provider.destroy(name, "")


async def test_a_container_is_created_answers_and_is_gone(provider: BootedProvider, order: Order):
    prefix = str(order.name).removesuffix("50-abc")
    await provider.check()
    up = await provider.set_up(order, await provider.create(order))
    assert await answer(up.address, up.port, TOKEN) == {"version": "2.2.4"}
    assert "error" in await answer(up.address, up.port, "other")
    assert [each.name for each in await provider.list(prefix)] == [order.name]
    assert (await provider.create(order)).ref == up.ref
    label = docker("inspect", "-f", '{{index .Config.Labels "clusterodm-cluster"}}', order.name).strip()
    assert prefix == f"clusterodm-{label}-"
    await provider.destroy(order.name, up.ref)
    assert await provider.inspect(order.name) is None
    assert list(await provider.list(prefix)) == []
    assert docker("ps", "-aq", "--filter", f"name={order.name}").strip() == ""


async def answer(address: str, port: int, token: str) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=f"http://{address}:{port}", timeout=5) as client:

        async def asked() -> httpx.Response | None:
            try:
                return await client.get(f"/info?token={token}")
            except httpx.HTTPError:
                return None

        return (await until(asked)).json()


async def test_a_container_that_was_created_and_never_started_is_started(
    provider: BootedProvider, order: Order, image: str
):
    docker("create", "--name", order.name, "--label", f"clusterodm.machine={order.name}", image, "--token", TOKEN)
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


async def test_a_name_that_somebody_else_has_taken_is_told(provider: BootedProvider, order: Order, image: str):
    docker("create", "--name", order.name, image, "--token", "x")
    try:
        with pytest.raises(ProviderFailed, match="already in use") as caught:
            await provider.create(order)
        assert caught.value.trouble is Trouble.UNKNOWN_OUTCOME
        await provider.destroy(order.name, "")
        assert docker("ps", "-aq", "--filter", f"name={order.name}").strip() != ""
    finally:
        docker("rm", "-f", order.name)


async def test_an_image_that_exists_nowhere_is_refused(provider: BootedProvider, order: Order):
    launch = Launch(image=f"clusterodm-test-nothing-{uuid.uuid4().hex}:none", token=Secret(TOKEN))
    with pytest.raises(ProviderFailed, match=r"/images/create|clusterodm-test-nothing"):
        await provider.create(Order(name=order.name, offer=order.offer, launch=launch))
    assert await provider.inspect(order.name) is None
