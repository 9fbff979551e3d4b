"""NodeODM containers on a Docker engine, over its own API (https://docs.docker.com/reference/api/engine/).

A *machine* is a container: its name is unique on an engine, its labels hold the machine's and the cluster's name. The
API and not the `docker` program, so that the node's secrets are never words of a process. Paths carry no version, which
every engine answers with its newest.

With a `network` the container joins it and is reached at its address there (the autoscaler runs in a container too);
without one its port is published on a free port of the engine's host. A container has no lease timer: its host stays.
"""

import base64
import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.hosts import LOOPBACK
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.config.core.wording import mistake_in_address
from clusterodm.services.autoscaler.orders import NODE_PORT, Launch, Order, ProviderMachine, masked
from clusterodm.services.autoscaler.providers.adapters.http_api.account import ApiAccount, described
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import TIMEOUT_S, RestClient, words_of
from clusterodm.services.autoscaler.providers.core.order_words import DATA_DIRECTORY, node_words, pairs, secrets_of
from clusterodm.services.autoscaler.providers.ports import VendorContext

SOCKET: Final = "unix:///var/run/docker.sock"
PULL_TIMEOUT_S: Final = 1800.0
RUNNING: Final = "running"
CONFLICT: Final = 409
CAPACITY_WORDS: Final = ("no space left", "could not select device driver", "port is already allocated")
BOOT_LOG_BYTES: Final = 256 * 1024
"""Of a log that is longer the beginning is read."""
STREAMS: Final = (b"\0", b"\1", b"\2")
HEAD_BYTES: Final = 8
LABEL: Final = "clusterodm.machine"
SIZE_LABEL: Final = "clusterodm.size"
ENGINES: Final = ("tcp", "http", "https")
EXPOSED: Final = f"{NODE_PORT}/tcp"


class DockerEngineVendor(ApiAccount):
    """An engine."""

    def __init__(
        self,
        cloud: CloudSettings,
        environment: Mapping[str, str],
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        address = cloud.endpoint or environment.get("DOCKER_HOST") or SOCKET
        url, self._host = reached(address)
        way = transport or transport_to(address, environment)
        super().__init__(cloud, RestClient("docker", url, judge=judge, timeout_s=timeout_s, transport=way))

    @staticmethod
    def read(keys: ObjectReader) -> CloudSettings:
        """Read which engine runs the containers, and in which network."""
        address = keys.named("host", mistake_in_host)
        return CloudSettings(endpoint=address, network=keys.text("network"), tags=keys.texts("tags"))

    @classmethod
    def make(cls, context: VendorContext) -> Self:
        """See ports.VendorKind."""
        return cls(context.settings, context.environment, timeout_s=context.answer_s)

    async def check(self) -> None:
        await self._rest.get("/version")
        if self._cloud.network and await self._rest.find(f"/networks/{quote(self._cloud.network)}") is None:
            raise ProviderFailed(f"docker: no network {self._cloud.network!r} on this engine", Trouble.REFUSED)

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        named = [each for each in await self._containers(machine_filter(name)) if each.name == name]
        if not ref or ref in {each.ref for each in named}:
            return named
        return [*named, *(each for each in await self._containers({"id": [ref]}) if each.ref == ref)]

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        return [each for each in await self._containers(machine_filter()) if each.name.startswith(prefix)]

    async def begin(self, order: Order) -> ProviderMachine:
        await self._pull(order.launch)
        body = container(order, self._cloud.tags, self._cloud.network, publish_on=self._publish_on())
        answer = await self._rest.call(
            "POST", "/containers/create", params={"name": order.name}, body=body, creates=True
        )
        number = str(answer.content["Id"])
        try:
            await self._start(number)
        except ProviderFailed as error:
            raise ProviderFailed(masked(error.message, secrets_of(order.launch)), error.trouble, ref=number) from None
        return ProviderMachine(name=order.name, ref=number, running=False)

    async def resume(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        """See ports.Vendor: one that was made and not started is started."""
        _ = order
        if not found.running:
            await self._start(found.ref)
        return found

    async def remove(self, found: ProviderMachine) -> None:
        """See ports.Vendor; the volumes that its image has made go with it."""
        await self._rest.delete(f"/containers/{found.ref}", force="true", v="true")

    async def boot_log(self, found: ProviderMachine) -> Sequence[str]:
        """See ports.LoggedVendor: what the container has written, both ways out."""
        answer = await self._rest.call(
            "GET",
            f"/containers/{found.ref}/logs",
            params={"stdout": "true", "stderr": "true"},
            first_bytes=BOOT_LOG_BYTES,
            missing_ok=True,
        )
        if answer.status == httpx.codes.NOT_FOUND:
            return ()
        return log_lines(answer.content)

    def described(self, order: Order) -> str:
        body = container(order, self._cloud.tags, self._cloud.network, publish_on=self._publish_on())
        text = described("POST", f"{self._rest.url}/containers/create?name={order.name}", body)
        return masked(text, secrets_of(order.launch))

    def _publish_on(self) -> str:
        """On which address of the engine's host: a local engine's nodes are nobody else's business."""
        return LOOPBACK if self._host == LOOPBACK else ""

    async def _start(self, number: str) -> None:
        await self._rest.call("POST", f"/containers/{number}/start")

    async def _containers(self, wanted: Mapping[str, Sequence[str]]) -> list[ProviderMachine]:
        content = await self._rest.get("/containers/json", all="true", filters=json.dumps(wanted))
        if not isinstance(content, list):  # an empty object would be an empty list
            raise ProviderFailed("docker: the answer is no list of containers")
        return [self._found(each) for each in sorted(content, key=lambda each: each.get("Created", 0))]

    def _found(self, content: Mapping[str, Any]) -> ProviderMachine:
        address, port = self._reached(content)
        return ProviderMachine(
            name=MachineId(content["Names"][0].lstrip("/")),
            ref=str(content["Id"]),
            address=address,
            port=port,
            running=content["State"] == RUNNING,
            size=str((content.get("Labels") or {}).get(SIZE_LABEL) or ""),
            created_at_ms=int(content.get("Created") or 0) * 1000,
        )

    def _reached(self, content: Mapping[str, Any]) -> tuple[str, int]:
        if self._cloud.network:
            networks = (content.get("NetworkSettings") or {}).get("Networks") or {}
            return next((each["IPAddress"] for each in networks.values() if each.get("IPAddress")), ""), NODE_PORT
        ports = content.get("Ports") or ()
        published = [
            int(each["PublicPort"]) for each in ports if each["PrivatePort"] == NODE_PORT and each.get("PublicPort")
        ]
        return (self._host, published[0]) if published else ("", NODE_PORT)

    async def _pull(self, launch: Launch) -> None:
        """Fetch the image unless the engine has it."""
        name, tag = image_and_tag(launch.image)
        if await self._rest.find(f"/images/{quote(launch.image)}/json") is not None:
            return
        answer = await self._rest.call(
            "POST",
            "/images/create",
            params={"fromImage": name, "tag": tag},
            headers=registry_header(launch),
            as_text=True,
            timeout_s=PULL_TIMEOUT_S,
        )
        if complaint := pull_complaint(answer.content):
            raise ProviderFailed(f"docker: pull {launch.image}: {complaint}", Trouble.REFUSED)


def mistake_in_host(address: str) -> str:
    """Say why an address is none of an engine; empty: it may be."""
    if urlsplit(address).scheme == "unix":
        return ""
    return f"{mistake} (or unix:///path)" if (mistake := mistake_in_address(address, ENGINES)) else ""


def reached(address: str) -> tuple[str, str]:
    """Give the URL of the engine's API, and the host on which its published ports are. Raises Refused."""
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return "http://docker", LOOPBACK
    if parts.scheme not in ENGINES or not parts.hostname:
        raise Refused(f"docker: {address!r} is no address of an engine (unix:///path or tcp://host:port)")
    scheme = "http" if parts.scheme == "tcp" else parts.scheme
    return f"{scheme}://{parts.netloc}", parts.hostname


def transport_to(address: str, environment: Mapping[str, str]) -> httpx.AsyncBaseTransport | None:
    """Make the way to the engine; None: plain HTTP. Certificates are taken from where the `docker` program looks."""
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return httpx.AsyncHTTPTransport(uds=parts.path)
    folder = environment.get("DOCKER_CERT_PATH")
    if parts.scheme != "https" or not folder:
        return None
    context = ssl.create_default_context(cafile=str(Path(folder) / "ca.pem"))
    context.load_cert_chain(str(Path(folder) / "cert.pem"), str(Path(folder) / "key.pem"))
    return httpx.AsyncHTTPTransport(verify=context)


def registry_header(launch: Launch) -> dict[str, str]:
    """Write the login to a private registry."""
    registry = launch.registry
    if not registry or not registry.username:
        return {}
    login = {"username": registry.username, "password": registry.password.reveal(), "serveraddress": registry.url}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}


def pull_complaint(lines: str) -> str:
    """Read the progress of a pull, one JSON object per line; the error in it, if there is one."""
    told = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    return next((str(each["error"]) for each in told if "error" in each), "")


def log_lines(content: bytes) -> list[str]:
    """Read the lines of a container's log that have ended.

    Without a terminal each piece has eight bytes in front: which way out it came, three zeros, and its length (docs.docker.com, "Attach to a
    container", stream format); with one there are none.
    """
    pieces, place = [], 0
    while content[place : place + 1] in STREAMS and content[place + 1 : place + 4] == b"\0\0\0":
        end = place + HEAD_BYTES + int.from_bytes(content[place + 4 : place + HEAD_BYTES], "big")
        pieces.append(content[place + HEAD_BYTES : end])
        place = end
    pieces.append(content[place:] if not pieces else b"")
    return b"".join(pieces).decode(errors="replace").split("\n")[:-1]


def judge(status: int, content: Any) -> tuple[Trouble | None, str]:
    """Read an error: `{"message"}`. A name that is taken: one is there, so look for it."""
    (message,) = words_of(content, "message")
    if any(word in message for word in CAPACITY_WORDS):
        return Trouble.OUT_OF_CAPACITY, message
    if status == CONFLICT and "already in use" in message:
        return Trouble.UNKNOWN_OUTCOME, message
    return None, message


def container(order: Order, configured: Sequence[str], network: str, *, publish_on: str) -> dict[str, Any]:
    """Write the body of `POST /containers/create`; the node's flags hold secrets."""
    return {
        "Image": order.launch.image,
        "Cmd": list(node_words(order.launch)),
        "Labels": pairs(configured, order.tags) | {LABEL: str(order.name), SIZE_LABEL: order.offer.size.slug},
        "ExposedPorts": {EXPOSED: {}},
        "HostConfig": host(order, network, publish_on),
    }


def host(order: Order, network: str, publish_on: str) -> dict[str, Any]:
    """Say what the container gets of its host."""
    found: dict[str, Any] = {"NetworkMode": network} if network else {"PortBindings": published(publish_on)}
    if order.offer.size.memory_bytes:
        found["Memory"] = order.offer.size.memory_bytes
    return found | devices(order.launch)


def devices(launch: Launch) -> dict[str, Any]:
    """Give the data directory and the graphics cards, where wanted."""
    found: dict[str, Any] = {}
    if launch.data_mount:
        found["Mounts"] = [{"Type": "bind", "Source": launch.data_mount, "Target": DATA_DIRECTORY}]
    if launch.gpu:
        found["DeviceRequests"] = [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]
    return found


def published(on: str) -> dict[str, Any]:
    """Publish the node's port on a free port of this address; an empty one is all addresses."""
    return {EXPOSED: [{"HostIp": on, "HostPort": ""}]}


def machine_filter(name: str = "") -> dict[str, Sequence[str]]:
    """Write the filter that finds our containers."""
    return {"label": [f"{LABEL}={name}" if name else LABEL]}


def image_and_tag(image: str) -> tuple[str, str]:
    """Split an image's name as a pull wants it; a digest counts as a tag."""
    if "@" in image:
        name, _, digest = image.partition("@")
        return name, digest
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")
