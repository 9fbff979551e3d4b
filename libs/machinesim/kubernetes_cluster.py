"""A simulated Kubernetes cluster: what its API server refuses, and which of its nodes takes a Pod.

Every object is held to the published schemas (kubernetes-validate), and to what they leave out.

The schemas say which fields there are and of which kind. The server looks further: names and labels have an alphabet, amounts a form, a volume
that is mounted has to be there, a service account and a priority class too. Loading a schema takes a while, so each is loaded once.

A node takes a Pod as Kubernetes' scheduler has it, or refuses it in its words.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

VERSION: Final = "1.37.0"
SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
QUANTITY: Final = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
UNITS: Final = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
LONGEST_NAME: Final = 253
SERVICE_ACCOUNTS: Final = ("default", "odm-node")
PRIORITY_CLASSES: Final = ("low", "system-node-critical")
GPU: Final = "nvidia.com/gpu"


def mistakes(body: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with an object; nothing: the server takes it."""
    return [
        *by_schema(body),
        *by_names(body),
        *(by_pod(body["spec"]) if body.get("kind") == "Pod" and body.get("spec") else ()),
    ]


def by_schema(body: Mapping[str, Any]) -> Iterator[str]:
    """Hold an object to its published schema, unknown fields included."""
    for error in validator(str(body.get("kind")).lower(), str(body.get("apiVersion"))).iter_errors(body):
        yield f"{'.'.join(map(str, error.absolute_path)) or 'object'}: {error.message}"


@cache
def validator(kind: str, version: str) -> Any:
    """Load a schema."""
    import jsonschema  # type: ignore[import-untyped] # ships no types
    from kubernetes_validate.utils import schema_contents
    from referencing import Registry, Resource

    folder = f"kubernetes-json-schema/v{VERSION}-local-strict"
    file = f"{folder}/{kind}-{version.replace('.k8s.io', '').replace('/', '-')}.json"
    schema = schema_contents(file, VERSION)
    registry: Any = Registry()
    for content in (schema, schema_contents(f"{folder}/_definitions.json", VERSION)):
        registry = Resource.from_contents(content) @ registry
    return jsonschema.Draft202012Validator(schema, registry=registry)


def by_names(body: Mapping[str, Any]) -> Iterator[str]:
    """Hold names, labels and annotations to their alphabets."""
    metadata = body.get("metadata") or {}
    name = str(metadata.get("name", ""))
    if body.get("kind") in {"Pod", "Secret"} and not (SUBDOMAIN.fullmatch(name) and len(name) <= LONGEST_NAME):
        yield f"metadata.name: Invalid value: {name!r}: a lowercase RFC 1123 subdomain"
    for key, value in (metadata.get("labels") or {}).items():
        if not (LABEL.fullmatch(value) and is_key(key)):
            yield f"metadata.labels: Invalid value: {key!r}: {value!r}"
    yield from (
        f"metadata.annotations: Invalid value: {key!r}" for key in metadata.get("annotations") or {} if not is_key(key)
    )


def is_key(key: str) -> bool:
    """Whether a label or an annotation may be called so: a name, with a domain before it or without."""
    domain, slash, name = key.rpartition("/")
    return bool(name and LABEL.fullmatch(name)) and (not slash or bool(SUBDOMAIN.fullmatch(domain)))


def by_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    """Look at what a Pod asks for."""
    volumes = [each["name"] for each in spec.get("volumes") or ()]
    for number, container in enumerate(spec.get("containers") or ()):
        at = f"spec.containers[{number}]"
        for mount in container.get("volumeMounts") or ():
            if mount["name"] not in volumes:
                yield f'{at}.volumeMounts: Not found: "{mount["name"]}"'
        wanted = container.get("resources") or {}
        for name, amount in {**(wanted.get("requests") or {}), **(wanted.get("limits") or {})}.items():
            if not QUANTITY.fullmatch(str(amount)):
                yield f"{at}.resources: quantities must match the regular expression: {amount!r}"
            if "/" in name and name not in (wanted.get("limits") or {}):
                yield f"{at}.resources.limits: Required value: Limit must be set for non overcommitable resources"
    deadline_s = spec.get("activeDeadlineSeconds")
    if deadline_s is not None and deadline_s < 1:
        yield "spec.activeDeadlineSeconds: Invalid value: must be greater than 0"


def not_admitted(body: Mapping[str, Any]) -> str:
    """Say why an admission controller refuses a Pod; empty: none does."""
    spec, name = body["spec"], body["metadata"]["name"]
    account = spec.get("serviceAccountName") or "default"
    if account not in SERVICE_ACCOUNTS:
        return f'pods "{name}" is forbidden: error looking up service account odm/{account}: serviceaccount "{account}" not found'
    if (wanted := spec.get("priorityClassName")) and wanted not in PRIORITY_CLASSES:
        return f'pods "{name}" is forbidden: no PriorityClass with name {wanted} was found'
    return ""


def amount(text: str) -> float:
    """Give an amount as a number."""
    number = text.rstrip("".join(set("".join(UNITS))))
    return float(number) * UNITS[text.removeprefix(number)]


@dataclass
class Worker:
    """A node of the cluster."""

    name: str
    cpu: float
    memory: str
    gpus_count: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()

    @property
    def room(self) -> dict[str, float]:
        """What it has, by resource."""
        return {"cpu": self.cpu, "memory": amount(self.memory), GPU: float(self.gpus_count)}


def usual() -> list[Worker]:
    """Make a cluster: two zones, a spot node, one with graphics cards."""
    spot = "cloud.google.com/gke-spot"
    return [
        Worker("large-a", 2000, "8000Gi", labels={"topology.kubernetes.io/zone": "zone-a"}),
        Worker("large-b", 2000, "8000Gi", labels={"topology.kubernetes.io/zone": "zone-b"}),
        Worker(
            "spot-1",
            64,
            "256Gi",
            labels={spot: "true"},
            taints=[{"key": spot, "value": "true", "effect": "NoSchedule"}],
        ),
        Worker("gpu-1", 16, "64Gi", 2, taints=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]),
    ]


def taken_by(
    spec: Mapping[str, Any], workers: Sequence[Worker], others: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[str, str]:
    """Choose the node for a Pod, or say why there is none. `others`: the Pods on each node."""
    because: Counter[str] = Counter()
    for worker in workers:
        if reason := why_not(spec, worker, others.get(worker.name, ())):
            because[reason] += 1
        else:
            return worker.name, ""
    told = ", ".join(f"{count} {reason}" for reason, count in because.items())
    return "", f"0/{len(workers)} nodes are available: {told}. preemption: 0/{len(workers)} nodes are available."


def why_not(spec: Mapping[str, Any], worker: Worker, others: Iterable[Mapping[str, Any]]) -> str:
    """Say why a node does not take a Pod; empty: it does."""
    wanted = spec.get("nodeSelector") or {}
    if any(worker.labels.get(key) != value for key, value in wanted.items()):
        return "node(s) didn't match Pod's node affinity/selector"
    for taint in worker.taints:
        if not any(tolerates(each, taint) for each in spec.get("tolerations") or ()):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint['value']}}}"
    used: Counter[str] = Counter()
    for each in others:
        used.update(asked(each))
    short = [name for name, much in asked(spec).items() if used[name] + much > worker.room.get(name, float("inf"))]
    return f"Insufficient {short[0]}" if short else ""


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    """Whether a toleration is for this taint."""
    same = toleration.get("key") in {None, "", taint["key"]} and toleration.get("effect") in {None, "", taint["effect"]}
    return same and (toleration.get("operator") == "Exists" or toleration.get("value") == taint["value"])


def asked(spec: Mapping[str, Any]) -> Counter[str]:
    """Add up what a Pod asks for."""
    found: Counter[str] = Counter()
    for container in spec["containers"]:
        for name, much in ((container.get("resources") or {}).get("requests") or {}).items():
            found[name] += amount(str(much))  # type: ignore[assignment] # amounts are no whole numbers
    return found
