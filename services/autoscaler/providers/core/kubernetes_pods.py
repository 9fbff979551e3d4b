"""How a machine is written for Kubernetes: a Pod, and the Secret with what only its node may know.

The Pod comes first and the Secret belongs to it (`ownerReferences`): whatever ends the Pod, the Secret goes with it, and so does a
volume of its own. A Pod waits for a Secret that is not there yet. Nothing secret is in the Pod, which everybody sees who may list Pods.

The lease is the liveness probe: it asks the cluster whether the machine is still wanted, with the program that the node itself runs in.
When no answer was "yes" for the whole time, the kubelet ends the container; it is never started again (`restartPolicy`), so what it held
of its node is free and costs nothing more. `activeDeadlineSeconds` ends a Pod whatever anybody answers: it cannot be prolonged.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from clusterodm.services.autoscaler.orders import Launch, Order
from clusterodm.services.autoscaler.providers.core.kubernetes_settings import KubernetesSettings, NodePool, PodSize
from clusterodm.services.autoscaler.providers.core.order_words import labels, node_configuration

MACHINE: Final = "clusterodm/machine"
SIZE: Final = "clusterodm/size"
REGION: Final = "clusterodm/region"
MANAGED: Final = {"app.kubernetes.io/name": "node", "app.kubernetes.io/managed-by": "clusterodm"}
SELECTOR: Final[dict[str, str]] = {"app.kubernetes.io/managed-by": "clusterodm"}
"""By which our Pods are found again."""
ZONE: Final = "topology.kubernetes.io/zone"
CONTAINER: Final = "node"
SECRETS: Final = "secrets"
SECRETS_FOLDER: Final = "/etc/clusterodm"
CONFIGURATION: Final = "config.json"
LEASE: Final = "lease-url"
DATA: Final = "data"
DATA_FOLDER: Final = "/var/www/data"
GRACE_S: Final = 15
CHECKS_PER_LEASE: Final = 4
SHORTEST_CHECK_S: Final = 15
LONGEST_CHECK_S: Final = 60
ANSWER_S: Final = 10
PROBE: Final = """\
const url = require('fs').readFileSync(process.argv[1], 'utf8').trim();
const http = require(url.startsWith('https:') ? 'https' : 'http');
const end = code => process.exit(code);
http.get(url, {timeout: %d}, answer => end(answer.statusCode === 200 ? 0 : 1)).on('timeout', () => end(1)).on('error', () => end(1));
"""


def pod(order: Order, settings: KubernetesSettings, size: PodSize) -> dict[str, Any]:
    """Write the Pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": str(order.name),
            "labels": {**labels(settings.tags, order.tags), **MANAGED},
            "annotations": {
                **settings.annotations,
                MACHINE: str(order.name),
                SIZE: order.offer.size.slug,
                REGION: order.offer.region,
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": GRACE_S,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container(order.launch, settings, size)],
            "volumes": [
                {"name": SECRETS, "secret": {"secretName": str(order.name), "defaultMode": 0o400}},
                data(settings, size),
            ],
            **placed(order, settings, size),
            **chosen(settings),
        },
    }


def placed(order: Order, settings: KubernetesSettings, size: PodSize) -> dict[str, Any]:
    """Say which nodes take the Pod; a region is a zone of the cluster."""
    pool = settings.pool + size.pool
    if order.offer.region:
        pool += NodePool(node_selector={ZONE: order.offer.region})
    return without_nothing(
        {"nodeSelector": dict(pool.node_selector), "tolerations": [dict(each) for each in pool.tolerations]}
    )


def chosen(settings: KubernetesSettings) -> dict[str, Any]:
    """Say what the file says of every Pod."""
    return without_nothing(
        {
            "serviceAccountName": settings.service_account,
            "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
            "priorityClassName": settings.priority_class,
            "runtimeClassName": settings.runtime_class,
            "activeDeadlineSeconds": settings.deadline_s,
        }
    )


def container(launch: Launch, settings: KubernetesSettings, size: PodSize) -> dict[str, Any]:
    """Write the container with the node."""
    return without_nothing(
        {
            "name": CONTAINER,
            "image": launch.image,
            "imagePullPolicy": settings.pull_policy,
            "args": ["--config", f"{SECRETS_FOLDER}/{CONFIGURATION}"],
            "ports": [{"name": "http", "containerPort": launch.port}],
            "resources": resources(launch, settings, size),
            "volumeMounts": [
                {"name": SECRETS, "mountPath": SECRETS_FOLDER, "readOnly": True},
                {"name": DATA, "mountPath": DATA_FOLDER},
            ],
            "securityContext": {"allowPrivilegeEscalation": False},
            "livenessProbe": lease_probe(launch),
        }
    )


def resources(launch: Launch, settings: KubernetesSettings, size: PodSize) -> dict[str, Any]:
    """Say what the Pod gets. Of memory no more than it asked for; a processor that nobody else wants it may use."""
    gpus_count = size.gpus_count or int(launch.gpu)
    limits = without_nothing(
        {
            "memory": size.memory,
            "ephemeral-storage": size.ephemeral_storage,
            settings.gpu_resource: str(gpus_count) if gpus_count else "",
        }
    )
    return {"requests": {"cpu": size.cpu, **limits}, "limits": limits}


def data(settings: KubernetesSettings, size: PodSize) -> dict[str, Any]:
    """Write the volume with the node's data: one of its own, which goes with the Pod, or a directory on the disk of the node."""
    if not settings.volume_size:
        return {"name": DATA, "emptyDir": without_nothing({"sizeLimit": size.ephemeral_storage})}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": settings.volume_size}},
        "storageClassName": settings.storage_class,
    }
    template = {"metadata": {"labels": dict(MANAGED)}, "spec": without_nothing(spec)}
    return {"name": DATA, "ephemeral": {"volumeClaimTemplate": template}}


def lease_probe(launch: Launch) -> dict[str, Any]:
    """Ask whether the machine is still wanted; nothing where there is no lease."""
    if not (launch.lease_url and launch.lease_s > 0):
        return {}
    every_s = min(max(launch.lease_s // CHECKS_PER_LEASE, SHORTEST_CHECK_S), LONGEST_CHECK_S)
    command = ["node", "-e", PROBE % (ANSWER_S * 1000), f"{SECRETS_FOLDER}/{LEASE}"]
    return {
        "exec": {"command": command},
        "periodSeconds": every_s,
        "timeoutSeconds": ANSWER_S + 2,
        "failureThreshold": max(1, -(-launch.lease_s // every_s)),
    }


def secret(order: Order, uid: str) -> dict[str, Any]:
    """Write the Secret of a Pod."""
    content = {CONFIGURATION: json.dumps(node_configuration(order.launch), ensure_ascii=False)}
    if order.launch.lease_url:
        content[LEASE] = order.launch.lease_url.reveal()
    owner = {"apiVersion": "v1", "kind": "Pod", "name": str(order.name), "uid": uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {"name": str(order.name), "labels": dict(MANAGED), "ownerReferences": [owner]},
        "stringData": content,
    }


def without_nothing(found: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not said."""
    return {name: value for name, value in found.items() if value}
