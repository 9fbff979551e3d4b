"""EC2 in simulated time, whose answers lie: the real boto3 in front of moto, without threads and without a socket.

boto3 hands each request over where it would send it ("before-send"), and gets the answer of `Ec2Api` (libs/machinesim). A list is what `Lies` make
of it: moto is asked for all instances, and those that are to be shown are shown as running.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree as ET

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError

from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.machinesim.cloud_api_ec2 import Ec2Api, namespace
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.providers.adapters.ec2.calls import Ec2Calls, session
from clusterodm.services.autoscaler.providers.adapters.ec2.client import Ec2Vendor
from clusterodm.services.autoscaler.providers.ports import Vendor
from tests.lying_apis import LyingApi, LyingMachines, times_of
from tests.lying_provider import Lies

REGION: Final = "us-west-2"
HOST: Final = f"ec2.{REGION}.amazonaws.com"
BROKEN: Final = "100000"
"""The length of an answer that never ends."""


@cache
def moto() -> Any:
    """Load it once: it takes seconds."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


class LyingEc2Api(Ec2Api):
    """Answers in this process."""

    def __init__(self, rented: LyingMachines, clock: FakeClock, lies: Lies) -> None:
        super().__init__(rented)
        self._now_ms = clock.wall_ms
        self._lies = lies
        self._moto = moto()
        self.asked("POST", "/moto-api/reset", b"", {})

    def asked(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Answer one request, past any socket."""
        told: dict[str, Any] = {}

        def start(status: str, sent: list[tuple[str, str]], _error: Any = None) -> None:
            told.update(status=int(status.split(maxsplit=1)[0]), headers=dict(sent))

        named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        environment = {
            **named,
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": HOST,
            "SERVER_PORT": "80",
            "HTTP_HOST": HOST,
            "CONTENT_TYPE": headers.get("Content-Type", "application/x-www-form-urlencoded"),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "wsgi.url_scheme": "http",
        }
        app = self.serve if path == "/" else self._moto
        content = b"".join(app(environment, start))
        return told["status"], told["headers"], content

    def _asked_moto(self, environment: dict[str, Any], body: bytes) -> Any:
        if b"Action=DescribeInstances" in body:
            body = of_every_state(body)
            environment["CONTENT_LENGTH"] = str(len(body))
        return super()._asked_moto(environment, body)

    def _edited(self, asked: dict[str, str], content: bytes) -> bytes:
        content = super()._edited(asked, content)
        if asked.get("Action") not in {"RunInstances", "DescribeInstances"} or b"<instanceId>" not in content:
            return content
        root = ET.fromstring(content)  # noqa: S314 moto's own
        ET.register_namespace("", namespace(root))
        by_id = any(key.startswith("InstanceId.") for key in asked)
        shown = self._lies.finds if by_id else self._lies.shows
        for group in root.findall(".//{*}instancesSet"):
            for instance in group.findall("{*}item"):
                self._lie(group, instance, shown if asked["Action"] == "DescribeInstances" else None)
        return ET.tostring(root)

    def _lie(self, group: ET.Element, instance: ET.Element, shown: Callable[..., bool] | None) -> None:
        number = instance.findtext("{*}instanceId", "")
        machine = next(each for each in self.machines.book if each.number == number)
        if shown is not None and not shown(*times_of(machine), self._now_ms()):
            group.remove(instance)
            return
        for launched in instance.findall("{*}launchTime"):
            launched.text = self.machines.created_text(machine)
        for state in instance.findall("{*}instanceState"):
            for name, value in (("code", "16"), ("name", "running")):
                for element in state.findall(f"{{*}}{name}"):
                    element.text = value


def of_every_state(body: bytes) -> bytes:
    """Ask for instances whatever their state."""
    given = parse_qsl(body.decode())
    states = [key.removesuffix(".Name") for key, value in given if value == "instance-state-name"]
    kept = [(key, value) for key, value in given if not any(key.startswith(f"{state}.") for state in states)]
    return urlencode(kept).encode()


class InlineCalls(Ec2Calls):
    """Calls without threads, whose requests go nowhere."""

    def __init__(self, cloud: CloudSettings, api: LyingEc2Api) -> None:
        super().__init__(cloud, timeout_s=60)
        self._api = api

    async def _called(self, do: Callable[[], Any]) -> Any:
        return do()

    def _made(self, region: str) -> Any:
        keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "made-up"}
        config = Config(retries={"mode": "standard", "total_max_attempts": 1})
        client = session().client("ec2", region_name=region, config=config, **keys)
        client.meta.events.register("before-send.ec2", self._sent)
        return client

    def _sent(self, request: AWSPreparedRequest, **_more: Any) -> AWSResponse:
        headers = {name: text(value) for name, value in request.headers.items()}
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        status, sent, content = self._api.asked("POST", "/", body, headers)
        if sent.get("Content-Length") == BROKEN:
            raise ConnectionClosedError(endpoint_url=request.url)
        return AWSResponse(request.url, status, sent, Raw(content))


class Raw(io.BytesIO):
    """The body of an answer, as urllib3 gives it."""

    def stream(self, *_amount: Any, **_more: Any) -> Any:
        """Give all of it."""
        yield self.getvalue()


def text(value: Any) -> str:
    """Read the value of a header."""
    return value.decode() if isinstance(value, bytes) else str(value)


class LyingEc2(LyingApi):
    """An account: what exists, and what it has cost."""

    def __init__(self, clock: FakeClock, lies: Lies) -> None:
        self.kind = "aws"
        self.clock = clock
        self._rented = LyingMachines(clock, lies)
        self._ec2 = LyingEc2Api(self._rented, clock, lies)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """What is rented there; moto wants to know how large a disk is to be."""
        return tuple(replace(size, storage_gb=100) for size in super().sizes)

    @property
    def region(self) -> str:
        """Where it is rented."""
        return REGION

    @property
    def left(self) -> list[str]:
        """Everything that costs: disks go with their instances."""
        return [*self.machines]

    def vendor(self) -> Vendor:
        """Make ours."""
        keys = {"accessKey": Secret("AKIAEXAMPLE"), "secretKey": Secret("made-up")}
        cloud = CloudSettings(keys=keys, security_group="default", image="*ubuntu*")
        vendor = Ec2Vendor(cloud, (REGION,))
        vendor._calls = InlineCalls(cloud, self._ec2)
        return vendor

    def order(self, ordered: Sequence[tuple[str, str]]) -> None:
        """Order failures, each to happen once."""
        for step, how in ordered:
            self._ec2.fail(step, how)
