"""The nodes of a simulated Kubernetes cluster, and which of them takes a Pod: as its scheduler does, and in its words."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from clusterodm.libs.machinesim.kubernetes_rules import amount

GPU: Final = "nvidia.com/gpu"


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
