"""EC2 as moto plays it, with what moto leaves out: failures on demand, client tokens, spot interruptions, nodes.

moto is a WSGI application; this one stands before it, reads which action is called, and edits the XML on its way back:
an instance gets the address of its simulated node, a spot instance its request, and a launch with a client token that
was used before gets the first launch's answer. Only tests and demos load it: moto is a development dependency.
"""

import base64
import io
import re
import threading
import time
import urllib.request
from collections.abc import Iterable
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlencode
from xml.etree import ElementTree as ET

from clusterodm.libs.machinesim.cloud_api import DONE, HOWS, SLOW_S, Call, Fault
from clusterodm.libs.machinesim.cloud_api_machines import Machines

LOOPBACK: Final = "127.0.0.1"
VERBS: Final = {"RunInstances": "create", "DescribeInstances": "list", "TerminateInstances": "delete"}
ERRORS: Final = {
    "capacity": (500, "InsufficientInstanceCapacity", "We currently do not have sufficient capacity in this zone."),
    "limit": (400, "InstanceLimitExceeded", "You have requested more instances than your limit allows."),
    "unauthorised": (401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
    "rate": (503, "RequestLimitExceeded", "Request limit exceeded."),
    "error": (500, "InternalError", "An internal error has occurred"),
    "late": (500, "InternalError", "An internal error has occurred"),
}
BROKEN: Final = ("lost", "broken", "slow", "mute")
NAMESPACE: Final = "http://ec2.amazonaws.com/doc/2016-11-15/"
Reply = tuple[str, list[tuple[str, str]], bytes]


class Ec2Api:
    """A server; it listens from `with` on."""

    def __init__(self, machines: Machines | None = None, slow_s: float = SLOW_S) -> None:
        self.slow_s = slow_s
        self.machines = machines or Machines()
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.interrupted: dict[str, str] = {}
        """Instance ids that Amazon is about to take away, and the status code of their requests."""
        self.keys: dict[str, str] = {}
        """The public SSH keys that docker-machine adds, by their names."""
        self._launched: dict[str, Reply] = {}
        self._lock = threading.Lock()
        self._moto: Any = None
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
        from werkzeug.serving import make_server

        class Quiet(MotoRequestHandler):
            def log_request(self, *_what: object) -> None:
                """Say nothing of single requests."""

        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(LOOPBACK, 0, self.serve, threaded=True, request_handler=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, name="ec2", daemon=True)
        self._thread.start()
        self._reset()
        return self

    def __exit__(self, *_error: object) -> None:
        """End; moto forgets what it has."""
        self._server.shutdown()
        self._server.server_close()
        if self._thread:
            self._thread.join()
        self.machines.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def fail(self, on: str, how: str, times: int = 1) -> None:
        """Ask for a failure; see cloud_api."""
        if how not in HOWS:
            raise ValueError(f"{how}: no such failure")
        self.faults.append(Fault(on, how, times))

    def forget(self) -> None:
        """Forget failures, calls and the book; what moto has stays."""
        for kept in (self.faults, self.calls, self.interrupted, self._launched, self.machines.book):
            kept.clear()

    def _reset(self) -> None:
        """Begin with nothing: moto keeps its instances as long as the process lives."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset", data=b"", method="POST")  # noqa: S310 - loopback
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()
        self.forget()

    def serve(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Serve one request (WSGI)."""
        body = environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        asked = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        action = asked.get("Action", "")
        how = self._fault(VERBS.get(action, action))
        if how and how not in DONE:
            time.sleep(self.slow_s if how == "slow" else 0)
            return broken(start) if how in BROKEN else complaint(how, start)
        status, headers, content = self._answer(environment, body, asked)
        time.sleep(self.slow_s if how == "mute" else 0)
        if how:
            return broken(start) if how in BROKEN else complaint(how, start)
        start(status, [*((name, value) for name, value in headers if name.lower() != "content-length")])
        return [content]

    def _fault(self, verb: str) -> str:
        with self._lock:
            found = next((each for each in self.faults if each.times and each.on in {verb, "any"}), None)
            if found:
                found.times -= 1
            self.calls.append(Call(verb, "POST", "/", found.how if found else ""))
            return found.how if found else ""

    def _answer(self, environment: dict[str, Any], body: bytes, asked: dict[str, str]) -> Reply:
        with self._lock:
            token = asked.get("ClientToken", "")
            if asked.get("Action") == "RunInstances" and token in self._launched:
                return self._launched[token]
            if asked.get("Action") == "RequestSpotInstances":
                return self._requested(environment, asked)
            reply = self._asked_moto(environment, body)
            self._book(asked, reply)
            if asked.get("Action") == "DescribeAccountAttributes":
                return reply[0], reply[1], self._with_default_vpc(environment, asked, reply[2])
            reply = (reply[0], reply[1], self._edited(asked, reply[2]))
            if asked.get("Action") == "RunInstances" and token and reply[0].startswith("200"):
                self._launched[token] = reply
            return reply

    def _asked_moto(self, environment: dict[str, Any], body: bytes) -> Reply:
        told: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
            told.update(status=status, headers=headers)

        environment["wsgi.input"] = io.BytesIO(body)
        content = b"".join(self._moto(environment, start))
        return told["status"], told["headers"], content

    def _requested(self, environment: dict[str, Any], asked: dict[str, str]) -> Reply:
        """Fulfil a request for a spot instance at once: moto launches one, and the request is called after it."""
        head = "LaunchSpecification."
        launch = {key.removeprefix(head): value for key, value in asked.items() if key.startswith(head)}
        market = {"InstanceMarketOptions.MarketType": "spot", "MinCount": "1", "MaxCount": "1"}
        launch |= {"Action": "RunInstances", "Version": asked["Version"], **market}
        body = urlencode(launch).encode()
        reply = self._asked_moto({**environment, "CONTENT_LENGTH": str(len(body))}, body)
        self._book(launch, reply)
        made = re.findall(rb"<instanceId>([^<]+)</instanceId>", reply[2])
        if not made or not reply[0].startswith("200"):
            return reply
        return reply[0], reply[1], spot_requests("RequestSpotInstances", self._request(made[0].decode()))

    def _book(self, asked: dict[str, str], reply: Reply) -> None:
        """Keep the book: whom a launch has made, what it was called later, and who was terminated."""
        if not reply[0].startswith("200"):
            return
        match asked.get("Action"):
            case "ImportKeyPair":
                self.keys[asked["KeyName"]] = base64.b64decode(asked["PublicKeyMaterial"]).decode()
            case "CreateTags" if named := self.machines.find(asked.get("ResourceId.1", "")):
                named.name = name_tag(asked) or named.name
            case "RunInstances":
                self._launch(asked, re.findall(rb"<instanceId>([^<]+)</instanceId>", reply[2]))
            case "TerminateInstances":
                for key, number in asked.items():
                    machine = self.machines.find(number) if key.startswith("InstanceId.") else None
                    if machine:
                        self.machines.delete(machine)

    def _launch(self, asked: dict[str, str], made: list[bytes]) -> None:
        text, extra = base64.b64decode(asked.get("UserData", "")).decode(), {"key": asked.get("KeyName", "")}
        for number in made:
            self.machines.create(number.decode(), name_tag(asked), user_data=text, extra=extra)

    def _edited(self, asked: dict[str, str], content: bytes) -> bytes:
        action = asked.get("Action", "")
        if action == "DescribeSpotInstanceRequests":
            return self._requests(asked)
        if action not in {"RunInstances", "DescribeInstances"} or b"<instanceId>" not in content:
            return content
        root = ET.fromstring(content)  # noqa: S314 - moto's own
        ET.register_namespace("", namespace(root))
        for instance in instances(root):
            self._edit(instance)
        return ET.tostring(root)

    def _with_default_vpc(self, environment: dict[str, Any], asked: dict[str, str], content: bytes) -> bytes:
        """Say which network is the account's own, which moto has and does not say."""
        body = urlencode({"Action": "DescribeVpcs", "Version": asked["Version"]}).encode()
        vpcs = self._asked_moto({**environment, "CONTENT_LENGTH": str(len(body))}, body)[2]
        every = ET.fromstring(vpcs).iterfind(".//{*}vpcSet/{*}item")  # noqa: S314 - moto's own
        own = [each for each in every if each.findtext("{*}isDefault") == "true"]
        name = own[0].findtext("{*}vpcId", "") if own else "none"
        return content.replace(b"<attributeValue>none<", f"<attributeValue>{name}<".encode())

    def _edit(self, instance: ET.Element) -> None:
        number = instance.findtext("{*}instanceId", "")
        machine = self.machines.find(number)
        for address in instance.findall("{*}ipAddress"):
            if machine:
                address.text = machine.address
        if instance.findtext("{*}instanceLifecycle") == "spot":
            ET.SubElement(instance, f"{{{namespace(instance)}}}spotInstanceRequestId").text = f"sir-{number}"

    def _requests(self, asked: dict[str, str]) -> bytes:
        """Tell of spot requests, which moto knows only of those that were made as such."""
        wanted = [
            value for key, value in asked.items() if key.startswith(("Filter.1.Value.", "SpotInstanceRequestId."))
        ]
        items = "".join(self._request(number.removeprefix("sir-")) for number in wanted)
        return spot_requests("DescribeSpotInstanceRequests", items)

    def _request(self, number: str) -> str:
        code = self.interrupted.get(number, "fulfilled")
        return (
            f"<item><spotInstanceRequestId>sir-{number}</spotInstanceRequestId><instanceId>{number}</instanceId>"
            f"<status><code>{code}</code><message>Your Spot request is {code}.</message></status></item>"
        )


def spot_requests(action: str, items: str) -> bytes:
    """Answer with spot requests."""
    shown = f"<requestId>1</requestId><spotInstanceRequestSet>{items}</spotInstanceRequestSet>"
    return f'<{action}Response xmlns="{NAMESPACE}">{shown}</{action}Response>'.encode()


def namespace(element: ET.Element) -> str:
    """Read an element's namespace; moto's answers do not all have the same."""
    return element.tag.partition("}")[0].removeprefix("{")


def instances(root: ET.Element) -> list[ET.Element]:
    """Find the instances in an answer."""
    return root.findall(".//{*}instancesSet/{*}item")


def name_tag(asked: dict[str, str]) -> str:
    """Find the name under which something is launched."""
    keys = [key.removesuffix(".Key") for key, value in asked.items() if key.endswith(".Key") and value == "Name"]
    return next((asked[f"{key}.Value"] for key in keys if f"{key}.Value" in asked), "")


def complaint(how: str, start: Any) -> list[bytes]:
    """Answer with an error."""
    status, code, message = ERRORS[how]
    start(f"{status} Failed", [("Content-Type", "text/xml")])
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return [f"<Response><Errors>{error}</Errors><RequestID>1</RequestID></Response>".encode()]


def broken(start: Any) -> list[bytes]:
    """Begin an answer that never ends."""
    start("200 OK", [("Content-Type", "text/xml"), ("Content-Length", "100000")])
    return [b"<"]
