"""How a machine is written for Kubernetes and read again, and what its file may say. No cluster is asked."""

import ast
import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import clusterodm.providers
import clusterodm.providers.http
from clusterodm.libs.common.errors import Refused, Trouble
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.machinesim.kubernetes_cluster import mistakes
from clusterodm.services.autoscaler.config.core.configuration import described
from clusterodm.services.autoscaler.config.core.file import parse, read
from clusterodm.services.autoscaler.config.core.reader import Outside
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, Size
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from clusterodm.services.autoscaler.providers.adapters.kubernetes.client import RIGHTS
from clusterodm.services.autoscaler.providers.core.kubernetes_pods import PROBE, pod, secret
from clusterodm.services.autoscaler.providers.core.kubernetes_settings import KubernetesSettings
from clusterodm.services.autoscaler.providers.core.kubernetes_status import machine, meaning, unschedulable
from tests.cloud_accounts import NAME, NODE_TOKEN, S3_SECRET, order

REPOSITORY = Path(__file__).parents[4]
OUTSIDE = Outside(
    {"S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}, lambda _path: "", lambda path: path != "/gone", VendorKinds()
)
SMALL = {"cpu": "4", "memory": "16Gi"}
FILE: dict[str, Any] = {
    "provider": "kubernetes",
    "imageSizeMapping": [{"slug": "small", "maxImages": 100}],
    "sizes": {"small": SMALL},
    "keepResults": 0,
    "leaseTime": 900,
}


def settings(**keys: Any) -> KubernetesSettings:
    found: KubernetesSettings = read(FILE | keys, OUTSIDE).own
    return found


def written(region: str = "", **keys: Any) -> dict[str, Any]:
    found = settings(**keys)
    return pod(order(region, Size(slug="small", max_images=50)), found, found.sizes["small"])


EVERYTHING = {
    "sizes": {
        "small": SMALL
        | {"ephemeralStorage": "100Gi", "gpu": 1, "spot": "gke", "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    },
    "nodeSelector": {"pool": "maps"},
    "tolerations": [{"key": "maps", "value": "yes", "effect": "NoSchedule"}],
    "volume": {"size": "500Gi", "storageClass": "fast"},
    "serviceAccount": "odm-node",
    "imagePullSecrets": ["registry"],
    "imagePullPolicy": "IfNotPresent",
    "priorityClass": "low",
    "runtimeClass": "nvidia",
    "annotations": {"example.org/team": "maps and more"},
    "tags": ["team:maps"],
    "activeDeadline": 172800,
}


@pytest.mark.parametrize("keys", [pytest.param({}, id="the least"), pytest.param(EVERYTHING, id="everything")])
def test_what_is_written_is_what_the_published_schemas_allow(keys: dict[str, Any]):
    assert mistakes(written("zone-a", **keys)) == []
    assert mistakes(secret(order("", Size(slug="small", max_images=50)), "0b9b1c8e")) == []


def test_the_schemas_find_a_field_that_does_not_exist():
    body = written()
    body["spec"]["containers"][0]["restart"] = "never"
    assert mistakes(body) == ["spec.containers.0: Additional properties are not allowed ('restart' was unexpected)"]


def test_everything_that_the_file_says_is_in_the_pod():
    body = written("zone-a", **EVERYTHING)
    spec = body["spec"]
    (container,) = spec["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "100Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "16Gi", "ephemeral-storage": "100Gi", "nvidia.com/gpu": "1"},
    }
    assert spec["nodeSelector"] == {
        "pool": "maps",
        "cloud.google.com/gke-spot": "true",
        "topology.kubernetes.io/zone": "zone-a",
    }
    assert [each["key"] for each in spec["tolerations"]] == ["maps", "cloud.google.com/gke-spot", "gpu"]
    assert spec["activeDeadlineSeconds"] == 172800
    assert (spec["restartPolicy"], spec["automountServiceAccountToken"]) == ("Never", False)
    claim = spec["volumes"][1]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["resources"] == {"requests": {"storage": "500Gi"}}
    assert claim["storageClassName"] == "fast"
    assert body["metadata"]["labels"].items() >= {"clusterodm-cluster": "c1", "team": "maps"}.items()


def test_no_secret_is_in_the_pod_and_its_secret_has_all_and_belongs_to_it():
    wanted = order("", Size(slug="small", max_images=50))
    text = json.dumps(written())
    assert not any(each in text for each in (NODE_TOKEN, S3_SECRET, "webhook-secret-9a"))
    body = secret(wanted, "0b9b1c8e")
    assert json.loads(body["stringData"]["config.json"])["token"] == NODE_TOKEN
    assert body["stringData"]["lease-url"].endswith("webhook-secret-9a")
    assert body["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": NAME, "uid": "0b9b1c8e"}]


@pytest.mark.parametrize(
    ("lease_s", "checks"),
    [pytest.param(900, (60, 15), id="long"), pytest.param(60, (15, 4), id="short"), pytest.param(0, None, id="none")],
)
def test_a_lease_is_a_probe_that_fails_for_the_whole_time(lease_s: int, checks: tuple[int, int] | None):
    launch = Launch(image="node", token=Secret("t"), lease_url=Secret("http://cluster/machine/lease"), lease_s=lease_s)
    wanted = Order(name=NAME, offer=Offer(size=Size(slug="small", max_images=5)), launch=launch)
    found = settings()
    (container,) = pod(wanted, found, found.sizes["small"])["spec"]["containers"]
    probe = container.get("livenessProbe")
    assert (probe and (probe["periodSeconds"], probe["failureThreshold"])) == checks


@pytest.mark.skipif(shutil.which("node") is None, reason="the probe is a program for node, which is not installed")
@pytest.mark.parametrize(("status", "code"), [(200, 0), (410, 1), (403, 1), (302, 1), (None, 1)])
def test_the_probe_succeeds_only_where_the_machine_is_wanted(status: int | None, code: int, tmp_path: Path):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status or 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        url = f"http://127.0.0.1:{server.server_port if status else 9}/machine/lease?token=s"
        (tmp_path / "lease-url").write_text(url)
        if status:
            threading.Thread(target=server.handle_request, daemon=True).start()
        ran = subprocess.run(["node", "-e", PROBE % 2000, str(tmp_path / "lease-url")], timeout=20, check=False)
    assert ran.returncode == code


def status(**found: Any) -> dict[str, Any]:
    body = written()
    metadata = body["metadata"] | {"uid": "u1", "creationTimestamp": "2026-01-02T03:04:05Z"}
    metadata |= found.pop("metadata", {})
    return body | {"metadata": metadata, "status": found}


def terminated(**state: Any) -> dict[str, Any]:
    return {"phase": "Failed", "containerStatuses": [{"name": "node", "state": {"terminated": state}}]}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param({"phase": "Running"}, "", id="it runs"),
        pytest.param({"phase": "Pending"}, "", id="it comes"),
        pytest.param(
            terminated(exitCode=137, reason="OOMKilled"), "out of memory (OOMKilled, the limit is 16Gi)", id="memory"
        ),
        pytest.param(
            terminated(exitCode=1, reason="Error", message="no such\noption"),
            "code 1 (Error: no such option)",
            id="its node",
        ),
        pytest.param(
            {"phase": "Failed", "reason": "Evicted", "message": "low on disk"}, "Evicted: low on disk", id="evicted"
        ),
        pytest.param({"phase": "Failed", "reason": "DeadlineExceeded"}, "DeadlineExceeded", id="deadline"),
        pytest.param({"phase": "Succeeded"}, "has ended (Succeeded)", id="ended by itself"),
        pytest.param(
            {
                "phase": "Running",
                "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}],
            },
            "PreemptionByScheduler",
            id="about to be taken away",
        ),
        pytest.param(
            {
                "phase": "Pending",
                "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no image"}}}],
            },
            "ImagePullBackOff: no image",
            id="no image",
        ),
        pytest.param(
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]},
            "",
            id="the image is tried once more",
        ),
        pytest.param(
            {"phase": "Running", "metadata": {"deletionTimestamp": "2026-01-02T03:04:06Z"}},
            "being deleted",
            id="deleted",
        ),
    ],
)
def test_why_a_pod_leaves_is_told(found: dict[str, Any], said: str):
    leaving = machine(status(**found)).leaving
    assert said in leaving
    assert bool(leaving) == bool(said)
    assert "\n" not in leaving


def test_what_a_cluster_says_is_one_line_and_bounded():
    told = machine(status(phase="Failed", reason="Evicted", message="x\n" * 5000)).leaving
    assert "\n" not in told
    assert len(told) <= 300
    assert (
        unschedulable(status(conditions=[{"type": "PodScheduled", "status": "False", "message": "no\nroom"}]))
        == "no room"
    )


def test_a_pod_is_read_as_a_machine():
    found = machine(status(phase="Running", podIP="fd00::7", podIPs=[{"ip": "fd00::7"}, {"ip": "10.0.0.7"}]))
    assert (found.name, found.ref, found.address, found.port, found.running) == (NAME, "u1", "10.0.0.7", 3000, True)
    assert (found.size, found.created_at_ms) == ("small", 1767323045000)


@pytest.mark.parametrize(
    ("code", "words", "creates", "trouble"),
    [
        (401, "", False, Trouble.UNAUTHORISED),
        (403, 'pods is forbidden: User "x" cannot list resource "pods"', False, Trouble.UNAUTHORISED),
        (403, "", False, Trouble.UNAUTHORISED),
        (403, 'pods "x" is forbidden: exceeded quota: compute', True, Trouble.OUT_OF_CAPACITY),
        (403, 'pods "x" is forbidden: no PriorityClass with name low was found', True, Trouble.REFUSED),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', True, Trouble.REFUSED),
        (404, 'namespaces "odm" not found', True, Trouble.REFUSED),
        (409, "already exists", True, Trouble.UNKNOWN_OUTCOME),
        (409, "the object has been modified", False, Trouble.RETRYABLE),
        (410, "too old", False, Trouble.RETRYABLE),
        (422, "is invalid", True, Trouble.REFUSED),
        (429, "too many", True, Trouble.RETRYABLE),
        (500, "etcd", True, Trouble.UNKNOWN_OUTCOME),
        (504, "etcd", False, Trouble.RETRYABLE),
    ],
)
def test_what_a_refusal_means_for_the_next_try(code: int, words: str, creates: bool, trouble: Trouble):
    assert meaning(code, words, creates=creates) is trouble


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        pytest.param({"sizes": {}}, "sizes: has no small, which imageSizeMapping names", id="no such size"),
        pytest.param({"sizes": {"small": {"cpu": "4"}}}, "sizes.small.memory: is missing", id="no memory"),
        pytest.param(
            {"sizes": {"small": SMALL | {"memory": "16 GB"}}}, "an amount like 4, 500m or 16Gi", id="no amount"
        ),
        pytest.param({"sizes": {"small": SMALL | {"cpu": 4}}}, "sizes.small.cpu: must be a text", id="a number"),
        pytest.param({"sizes": {"small": SMALL | {"spot": "gcp"}}}, "sizes.small.spot: is 'gcp'", id="no such spot"),
        pytest.param({"namespace": "ODM"}, "namespace: is 'ODM', which is no name", id="no name"),
        pytest.param({"nodeSetupCmd": "apt install"}, "nodeSetupCmd: a Pod has no machine", id="a command"),
        pytest.param({"dockerRegistry": {"url": "r"}}, "imagePullSecrets", id="a login"),
        pytest.param({"token": "t"}, "token: belongs to an endpoint", id="a token alone"),
        pytest.param({"endpoint": "https://a", "context": "b"}, "endpoint: is one of two", id="two ways"),
        pytest.param({"kubeconfig": "/gone"}, "kubeconfig: /gone: file does not exist", id="no kubeconfig"),
        pytest.param({"volume": {"storageClass": "fast"}}, "volume.size: is missing", id="a volume without a size"),
        pytest.param({"tolerations": [{"value": "x"}]}, "tolerations[0].key: is missing", id="a toleration of nothing"),
        pytest.param({"nodeSelector": {"pool": 4}}, "nodeSelector: must be an object of texts", id="no texts"),
    ],
)
def test_every_mistake_names_its_key(keys: dict[str, Any], said: str):
    with pytest.raises(Refused) as caught:
        read(FILE | keys, OUTSIDE)
    assert said in caught.value.message


def test_a_file_by_which_pods_may_stay_for_ever_says_so():
    found = read({name: value for name, value in FILE.items() if name != "leaseTime"}, OUTSIDE)
    assert "note: leaseTime: neither it nor activeDeadline is given" in described(found)
    assert "note" not in described(read(FILE, OUTSIDE))


def test_the_example_of_the_documentation_has_spot_before_the_usual():
    found = parse((REPOSITORY / "docs/examples/asr-kubernetes.json").read_text(), OUTSIDE)
    assert [size.slug for size in found.limits.sizes] == ["small-spot", "small", "large"]


def test_it_is_written_with_what_any_provider_may_use():
    """Every name that it takes of ClusterODM is one of `clusterodm.providers`, or its own."""
    providers = REPOSITORY / "services/autoscaler/providers"
    files = [*(providers / "adapters/kubernetes").glob("*.py"), *(providers / "core").glob("kubernetes_*.py")]
    own = {"monotonic_s", "NODE_PORT", "NO_SECRET", "kubernetes_settings"}
    allowed = {*clusterodm.providers.__all__, *clusterodm.providers.http.__all__, *own}
    taken = {
        name.name
        for file in files
        for each in ast.walk(ast.parse(file.read_text()))
        if isinstance(each, ast.ImportFrom)
        and str(each.module).startswith("clusterodm.")
        and "kubernetes" not in str(each.module)
        for name in each.names
    }
    assert taken <= allowed


def test_the_manifest_gives_the_rights_that_are_asked_for_and_no_other():
    found = {
        each["kind"]: each for each in yaml.safe_load_all((REPOSITORY / "deploy/kubernetes/machines.yaml").read_text())
    }
    given = {
        (verb, resource) for rule in found["Role"]["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert given == {*RIGHTS, ("get", "pods/log")}
    for body in found.values():
        kubernetes_validate.validate(body, "1.37", strict=True)
