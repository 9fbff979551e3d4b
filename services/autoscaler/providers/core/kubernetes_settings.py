"""The own keys of a file for `kubernetes`: which cluster, and what each size is there (docs/kubernetes-machines.md).

A cluster has no sizes, so the file says what each one asks for. What machines have and Pods do not (a command that is run on the machine,
a directory of it, a login to a registry) is refused, with what takes its place.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.orders import NO_SECRET

SCHEDULING_S: Final = 300
"""A pool of nodes that grows takes minutes."""
QUANTITY: Final = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
GPU: Final = "nvidia.com/gpu"
OPERATORS: Final = ("Equal", "Exists")
EFFECTS: Final = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")
PULL_POLICIES: Final = ("", "Always", "IfNotPresent", "Never")
INSTEAD: Final[Mapping[str, str]] = {
    "nodeSetupCmd": "a Pod has no machine of its own to run it on: put it into the image",
    "dockerDataDirMountPath": "a Pod's data lie in its volume: see volume and ephemeralStorage",
    "dataDirMountPath": "a Pod's data lie in its volume: see volume and ephemeralStorage",
    "dockerRegistry": "is not handed to Pods: put the login into a Secret and name it in imagePullSecrets",
}


@dataclass(frozen=True, kw_only=True)
class NodePool:
    """Which nodes of the cluster take a Pod."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, str], ...] = ()

    def __add__(self, other: "NodePool") -> "NodePool":
        """Take both; where they differ the other counts."""
        tolerations = (*self.tolerations, *(each for each in other.tolerations if each not in self.tolerations))
        return NodePool(node_selector={**self.node_selector, **other.node_selector}, tolerations=tolerations)


def no_schedule(key: str, value: str) -> dict[str, str]:
    """Write the toleration of a taint."""
    return {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}


SPOT: Final[Mapping[str, NodePool]] = {
    "": NodePool(),
    "gke": NodePool(
        node_selector={"cloud.google.com/gke-spot": "true"},
        tolerations=(no_schedule("cloud.google.com/gke-spot", "true"),),
    ),
    "eks": NodePool(node_selector={"eks.amazonaws.com/capacityType": "SPOT"}),
    "aks": NodePool(
        node_selector={"kubernetes.azure.com/scalesetpriority": "spot"},
        tolerations=(no_schedule("kubernetes.azure.com/scalesetpriority", "spot"),),
    ),
    "karpenter": NodePool(node_selector={"karpenter.sh/capacity-type": "spot"}),
}
"""How the nodes of a spot pool are labelled and tainted, by who runs the cluster."""


@dataclass(frozen=True, kw_only=True)
class PodSize:
    """What a size is here."""

    cpu: str
    memory: str
    ephemeral_storage: str = ""
    gpus_count: int = 0
    pool: NodePool = NodePool()
    is_spot: bool = False


@dataclass(frozen=True, kw_only=True)
class KubernetesSettings:
    """Its own keys of the file."""

    endpoint: str = ""
    """The API server, for who has neither a kubeconfig nor a service account."""
    token: Secret = NO_SECRET
    authority: str = ""
    """A file with the certificate of who signs the server's."""
    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    """Empty: that of the kubeconfig, or of the service account."""
    sizes: Mapping[str, PodSize]
    gpu_resource: str = GPU
    pool: NodePool = NodePool()
    service_account: str = ""
    pull_secrets: tuple[str, ...] = ()
    pull_policy: str = ""
    priority_class: str = ""
    runtime_class: str = ""
    tags: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    volume_size: str = ""
    """Empty: the data lie on the disk of the node that the Pod is on."""
    storage_class: str = ""
    scheduling_s: int = SCHEDULING_S
    deadline_s: int | None = None
    """No Pod lives longer, whatever becomes of this cluster."""
    is_spot: bool = False

    @property
    def spot_slugs(self) -> frozenset[str]:
        """Those sizes whose Pods go to a pool of spot nodes."""
        return frozenset(slug for slug, size in self.sizes.items() if self.is_spot or size.is_spot)

    @property
    def gpu_slugs(self) -> frozenset[str]:
        """Those sizes that have a graphics card."""
        return frozenset(slug for slug, size in self.sizes.items() if size.gpus_count)


def read(keys: ObjectReader) -> KubernetesSettings:
    """Read the keys; mistakes stay with the reader."""
    for key, sentence in INSTEAD.items():
        if keys.has(key):
            keys.wrong(key, sentence)
    volume = keys.section("volume")
    found = KubernetesSettings(
        endpoint=keys.address("endpoint"),
        token=keys.cloud_key("token"),
        authority=keys.existing("certificateAuthority"),
        kubeconfig=keys.existing("kubeconfig"),
        context=keys.text("context"),
        namespace=named(keys, "namespace"),
        sizes=sizes(keys.section("sizes", required=True)),
        gpu_resource=keys.text("gpuResource", GPU),
        pool=pool(keys),
        service_account=keys.text("serviceAccount"),
        pull_secrets=keys.texts("imagePullSecrets"),
        pull_policy=keys.choice("imagePullPolicy", PULL_POLICIES, ""),
        priority_class=keys.text("priorityClass"),
        runtime_class=keys.text("runtimeClass"),
        tags=keys.texts("tags"),
        annotations=words(keys, "annotations"),
        volume_size=quantity(volume, "size", required=bool(volume.names())),
        storage_class=volume.text("storageClass"),
        scheduling_s=keys.count("schedulingTimeout", SCHEDULING_S, least=1),
        deadline_s=keys.limit("activeDeadline"),
        is_spot=bool(keys.text("spot")),
    )
    judge(keys, found)
    return found


def judge(keys: ObjectReader, found: KubernetesSettings) -> None:
    """Tell what does not go together."""
    if found.token and not found.endpoint:
        keys.wrong("token", "belongs to an endpoint; a kubeconfig has its own")
    if found.endpoint and (found.kubeconfig or found.context):
        keys.wrong("endpoint", "is one of two: it, or kubeconfig and context")
    if missing := [slug for slug in keys.slugs() if slug not in found.sizes]:
        keys.wrong("sizes", f"has no {', '.join(missing)}, which imageSizeMapping names")
    if not keys.has("leaseTime") and found.deadline_s is None:
        keys.note("leaseTime", "neither it nor activeDeadline is given: Pods of a cluster that never comes back stay")


def sizes(keys: ObjectReader) -> dict[str, PodSize]:
    """Read what each size asks for."""
    return {name: size(keys.section(name)) for name in keys.names()}


def size(keys: ObjectReader) -> PodSize:
    """Read one."""
    return PodSize(
        cpu=quantity(keys, "cpu", required=True),
        memory=quantity(keys, "memory", required=True),
        ephemeral_storage=quantity(keys, "ephemeralStorage"),
        gpus_count=keys.count("gpu", 0),
        pool=pool(keys),
        is_spot=bool(keys.text("spot")),
    )


def pool(keys: ObjectReader) -> NodePool:
    """Read which nodes are meant: those of a spot pool, and what is said besides."""
    spot = SPOT[keys.choice("spot", tuple(SPOT), "")]
    tolerations = tuple(toleration(each) for each in keys.entries("tolerations") or ())
    return spot + NodePool(node_selector=words(keys, "nodeSelector"), tolerations=tolerations)


def toleration(keys: ObjectReader) -> Mapping[str, str]:
    """Read one toleration as Kubernetes writes it."""
    found = {
        "key": keys.text("key"),
        "operator": keys.choice("operator", OPERATORS, "Equal"),
        "value": keys.text("value"),
        "effect": keys.choice("effect", EFFECTS, ""),
    }
    if found["operator"] == "Exists" and found["value"]:
        keys.wrong("value", "Exists takes none")
    if found["operator"] == "Equal" and not found["key"]:
        keys.wrong("key", "is missing")
    return {name: value for name, value in found.items() if value}


def quantity(keys: ObjectReader, key: str, *, required: bool = False) -> str:
    """Read an amount as Kubernetes writes it: 4, 500m, 16Gi."""
    found = keys.text(key, required=required)
    if found and not QUANTITY.fullmatch(found):
        keys.wrong(key, f"is {found!r}, expected an amount like 4, 500m or 16Gi")
        return ""
    return found


def named(keys: ObjectReader, key: str) -> str:
    """Read the name of a namespace."""
    found = keys.text(key)
    if found and not NAME.fullmatch(found):
        keys.wrong(key, f"is {found!r}, which is no name")
    return found


def words(keys: ObjectReader, key: str) -> dict[str, str]:
    """Read an object of texts."""
    found: dict[str, Any] = keys.plain(key)
    if not only_texts(found.values()):
        keys.wrong(key, "must be an object of texts")
        return {}
    return found


def only_texts(values: Iterable[Any]) -> bool:
    """Whether all of them are texts."""
    return all(isinstance(value, str) for value in values)
