"""A Kubernetes API server, as far as Pods and their Secrets go (https://kubernetes.io/docs/reference/kubernetes-api/).

Every object is held to the published schemas, every refusal is a `Status`. A Pod is Pending until a node takes it (kubernetes_cluster.py) and its
Secret is there, an image with `missing` in its name cannot be pulled, lists come in pages whose rest may expire (410), and what belongs to a
Pod goes with it. `end` ends a Pod as a cluster does: out of memory, evicted, past its deadline, on a spot node that is taken away.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from clusterodm.libs.machinesim.cloud_api import Kind
from clusterodm.libs.machinesim.cloud_api_machines import Machine, Machines, container_lines
from clusterodm.libs.machinesim.kubernetes_cluster import mistakes, not_admitted, taken_by, usual

NAMESPACE: Final = "odm"
NO_IMAGE: Final = "missing"
REASONS: Final = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "AlreadyExists",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
}
QUOTA: Final = 'pods "odm" is forbidden: exceeded quota: {}, requested: {}, used: {}, limited: {}'
FAULTS: Final = {
    "capacity": (
        403,
        QUOTA.format("gpus", "requests.nvidia.com/gpu=1", "requests.nvidia.com/gpu=2", "requests.nvidia.com/gpu=2"),
    ),
    "limit": (403, QUOTA.format("compute", "pods=1", "pods=50", "pods=50")),
    "unauthorised": (401, "Unauthorized"),
    "rate": (429, "the server has received too many requests and has asked us to try again later"),
    "error": (500, "etcdserver: request timed out"),
}
ENDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "oom": {"phase": "Failed", "terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    "error": {"phase": "Failed", "terminated": {"exitCode": 1, "reason": "Error", "message": "no such option"}},
    "evicted": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."},
    "deadline": {
        "phase": "Failed",
        "reason": "DeadlineExceeded",
        "message": "Pod was active on the node longer than the specified deadline",
    },
    "spot": {
        "phase": "Running",
        "conditions": [
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "TerminationByKubelet",
                "message": "Pod was terminated in response to imminent node shutdown.",
            }
        ],
    },
}


class Kubernetes(Kind):
    """The API, with one namespace."""

    def __init__(self, machines: Machines, token: str) -> None:
        super().__init__(machines, token)
        self.workers = usual()
        self.secrets: dict[str, dict[str, Any]] = {}
        self.refused: list[str] = []
        """What it has found wrong with objects."""
        self.denied: set[tuple[str, str]] = set()
        """Rights that the caller does not have: verb and resource."""
        self.expiring_count = 0
        """So many times the rest of a list is not to be had any more."""

    def routes(self) -> Sequence[Route]:
        here = "/api/v1/namespaces/{namespace}"
        return [
            Route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._review, methods=["POST"]),
            Route(f"{here}/pods", self._create, methods=["POST"]),
            Route(f"{here}/pods", self._list),
            Route(f"{here}/pods/{{name}}", self._delete, methods=["DELETE"]),
            Route(f"{here}/pods/{{name}}", self._get),
            Route(f"{here}/pods/{{name}}/log", self._log),
            Route(f"{here}/secrets", self._create_secret, methods=["POST"]),
        ]

    def verb(self, method: str, path: str) -> str:
        if "/pods" not in path:
            return path.rpartition("/")[2]
        if path.endswith("/log"):
            return "log"
        return {"POST": "create", "DELETE": "delete"}.get(method) or ("list" if path.endswith("/pods") else "get")

    def complain(self, how: str) -> Response:
        return refused(*FAULTS[how])

    def end(self, name: str, how: str) -> None:
        """End a Pod as the cluster does."""
        self._named(name).extra["end"] = ENDS[how]  # type: ignore[union-attr] # tests name what is there

    def rent(self, name: str) -> None:
        """Make a Pod of somebody else's cluster."""
        container = {
            "name": "node",
            "image": "opendronemap/nodeodm",
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        }
        metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "clusterodm"}}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        number = f"77777777-4f52-4a3e-9d53-{len(self._machines.book):012}"
        self._machines.create(number, name, on=False, extra={"body": body, "node": "large-a"})

    def present(self) -> list[str]:
        """Give the names of all that exists: Pods, and Secrets whose Pod has gone."""
        self._collect()
        return [each.name for each in self._machines.here()] + sorted(
            self.secrets.keys() - {each.name for each in self._machines.here()}
        )

    async def _review(self, request: Request) -> Response:
        body = await request.json()
        wanted = body["spec"]["resourceAttributes"]
        return JSONResponse(
            {**body, "status": {"allowed": (wanted["verb"], wanted["resource"]) not in self.denied}}, 201
        )

    async def _create(self, request: Request) -> Response:
        body = await request.json()
        if answer := self._wrong(request, body, "Pod"):
            return answer
        if because := not_admitted(body):
            return refused(403, because)
        name = body["metadata"]["name"]
        if self._named(name):
            return refused(409, f'pods "{name}" already exists')
        if request.query_params.get("dryRun") == "All":
            return JSONResponse(self._shown(self._machines.preview(name, extra={"body": body})), 201)
        number = f"0b9b1c8e-4f52-4a3e-9d53-{len(self._machines.book):012}"
        machine = self._machines.create(
            number, name, on=False, image=body["spec"]["containers"][0]["image"], extra={"body": body}
        )
        self._look(machine)
        return JSONResponse(self._shown(machine), 201)

    async def _create_secret(self, request: Request) -> Response:
        body = await request.json()
        if answer := self._wrong(request, body, "Secret"):
            return answer
        self._collect()
        name = body["metadata"]["name"]
        if name in self.secrets:
            return refused(409, f'secrets "{name}" already exists')
        text = body.pop("stringData", {})
        body["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
        self.secrets[name] = body
        return JSONResponse(body, 201)

    async def _list(self, request: Request) -> Response:
        wanted = dict(each.split("=", 1) for each in request.query_params.get("labelSelector", "").split(",") if each)
        found = [self._shown(each) for each in self._machines.here()]
        found = [each for each in found if wanted.items() <= (each["metadata"].get("labels") or {}).items()]
        start = int(request.query_params.get("continue") or 0)
        if start and self.expiring_count:
            self.expiring_count -= 1
            return refused(410, "The provided continue parameter is too old to display a consistent list result.")
        after = start + int(request.query_params.get("limit") or len(found) or 1)
        metadata = {"resourceVersion": "4711"} | ({"continue": str(after)} if after < len(found) else {})
        return JSONResponse({"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": found[start:after]})

    async def _get(self, request: Request) -> Response:
        machine = self._named(request.path_params["name"])
        return JSONResponse(self._shown(machine)) if machine else missing(request)

    async def _log(self, request: Request) -> Response:
        machine = self._named(request.path_params["name"])
        if machine is None:
            return missing(request)
        if ("get", "pods/log") in self.denied:
            return refused(403, f'pods "{machine.name}" is forbidden: cannot get resource "pods/log"')
        if machine.on_s is None:
            return refused(400, f'container "node" in pod "{machine.name}" is waiting to start: ContainerCreating')
        lines = container_lines(running=self._machines.is_running(machine))
        return PlainTextResponse("".join(f"{line}\n" for line in lines))

    async def _delete(self, request: Request) -> Response:
        machine = self._named(request.path_params["name"])
        if machine is None:
            return missing(request)
        self._machines.delete(machine)
        return JSONResponse(self._shown(machine))

    def _wrong(self, request: Request, body: Mapping[str, Any], kind: str) -> Response | None:
        """Refuse what the server refuses before it looks at what is there."""
        namespace = request.path_params["namespace"]
        if namespace != NAMESPACE:
            return refused(404, f'namespaces "{namespace}" not found')
        if body.get("kind") != kind:
            return refused(400, f"the object provided is unrecognized: {body.get('kind')}")
        found = mistakes(body)
        self.refused += found
        return refused(422, f"{kind} is invalid: {'; '.join(found)}") if found else None

    def _named(self, name: str) -> Machine | None:
        return next((each for each in self._machines.here() if each.name == name), None)

    def _collect(self) -> None:
        """Let go of what belongs to a Pod that has gone, as the garbage collector does."""
        here = {each.number for each in self._machines.here()}
        owners = {
            name: [each["uid"] for each in body["metadata"].get("ownerReferences", ())]
            for name, body in self.secrets.items()
        }
        for name, uids in owners.items():
            if uids and not here.intersection(uids):
                del self.secrets[name]

    def _look(self, machine: Machine) -> None:
        """Let the scheduler and the kubelet look at a Pod."""
        if not machine.extra.get("node"):
            others: dict[str, list[Any]] = {}
            for each in self._machines.here():
                if not each.extra.get("end"):
                    others.setdefault(each.extra.get("node", ""), []).append(each.extra["body"]["spec"])
            machine.extra["node"], machine.extra["unschedulable"] = taken_by(
                machine.extra["body"]["spec"], self.workers, others
            )
        if (
            machine.extra["node"]
            and machine.on_s is None
            and machine.name in self.secrets
            and NO_IMAGE not in machine.image
        ):
            secret = self.secrets[machine.name]["data"].get("config.json", "")
            machine.words = words_of(json.loads(base64.b64decode(secret) or b"{}"))
            self._machines.switch_on(machine)

    def _shown(self, machine: Machine) -> dict[str, Any]:
        if machine in self._machines.book:
            self._look(machine)
        body = machine.extra["body"]
        created = datetime.fromtimestamp(self._machines.created_ms(machine) / 1000, tz=UTC)
        metadata = {
            **body["metadata"],
            "uid": machine.number,
            "namespace": NAMESPACE,
            "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if machine.deleted_s is not None:
            metadata["deletionTimestamp"] = metadata["creationTimestamp"]
        node = machine.extra.get("node", "")
        return {
            **body,
            "metadata": metadata,
            "spec": {**body["spec"], **({"nodeName": node} if node else {})},
            "status": self._status(machine),
        }

    def _status(self, machine: Machine) -> dict[str, Any]:
        ended = dict(machine.extra.get("end") or {})
        terminated = ended.pop("terminated", None)
        running = self._machines.is_running(machine)
        found: dict[str, Any] = {
            "phase": "Running" if running else "Pending",
            "conditions": [],
            "containerStatuses": [],
        }
        if because := machine.extra.get("unschedulable"):
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": because}
            return {**found, "conditions": [condition]}
        if running:
            found |= {"podIP": machine.address, "podIPs": [{"ip": machine.address}]}
        state: dict[str, Any] = {"running": {}} if running else {"waiting": {"reason": "ContainerCreating"}}
        if NO_IMAGE in machine.image:
            message = f'Back-off pulling image "{machine.image}": ErrImagePull: not found'
            state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
        if terminated:
            state = {"terminated": terminated}
        container = {
            "name": "node",
            "image": machine.image,
            "imageID": "",
            "ready": running,
            "restartCount": 0,
            "state": state,
        }
        return {**found, "containerStatuses": [container], **ended}


def words_of(configuration: Mapping[str, Any]) -> list[str]:
    """Write NodeODM's configuration file as its flags."""
    flags = {
        "parallelQueueProcessing": "-q",
        "token": "--token",
        "maxImages": "--max_images",
        "webhook": "--webhook",
        "s3AccessKey": "--s3_access_key",
        "s3SecretKey": "--s3_secret_key",
        "s3Endpoint": "--s3_endpoint",
        "s3Bucket": "--s3_bucket",
        "s3_acl": "--s3_acl",
    }
    given = [(flag, str(configuration[key])) for key, flag in flags.items() if configuration.get(key)]
    return [word for pair in given for word in pair] + (["--s3_ignore_ssl"] if configuration.get("s3IgnoreSSL") else [])


def missing(request: Request) -> Response:
    """Answer for a Pod that is not there."""
    return refused(404, f'pods "{request.path_params["name"]}" not found')


def refused(status: int, message: str) -> Response:
    """Answer with an error, as a Status."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": REASONS[status],
        "code": status,
    }
    return JSONResponse(body, status)
