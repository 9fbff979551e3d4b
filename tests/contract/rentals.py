"""Every provider of ours on trial: in front of a stand-in of whoever rents its machines, with the suite's faults between them.

Each is tried as a stranger's would be (clusterodm/contract/trial.py); what a stand-in adds is how its API words a refusal.
"""

import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from clusterodm.contract.failures import How, Step, Words
from clusterodm.contract.http import http_faults
from clusterodm.contract.programs import ProgramFaults
from clusterodm.contract.trial import Trial
from clusterodm.libs.machinesim.cloud_api_ec2 import ERRORS, complaint
from clusterodm.libs.machinesim.cloud_api_kubernetes import Kubernetes
from clusterodm.libs.machinesim.cloud_api_openstack import PASSWORD
from clusterodm.libs.machinesim.cloud_api_testing import TOKEN, Served, serving
from tests.contract.dummy_driver import dummy
from tests.moto_account import moto_account

STEPS = {"create": Step.CREATE, "list": Step.LIST, "delete": Step.REMOVE}
CLOUDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "digitalocean": (
        {"accessToken": TOKEN, "image": "ubuntu-22-04-x64", "tags": ["clusterodm"]},
        "nyc3",
        "s-4vcpu-8gb",
    ),
    "hetzner": ({"apiToken": TOKEN, "image": "ubuntu-22.04"}, "fsn1", "cx21"),
    "scaleway": ({"organization": "org-1", "secretToken": TOKEN, "image": "ubuntu-jammy"}, "par1", "GP1-XS"),
    "docker": ({}, "", "any"),
}
REQUIRED = {
    "digitalocean": ("accessToken",),
    "kubernetes": ("sizes",),
    "hetzner": ("apiToken",),
    "scaleway": ("organization", "secretToken"),
}
WITHOUT = {"openstack": frozenset({"hollow"})}
"""libcloud's driver of OpenStack takes an answer without servers for an empty list (docs/libcloud.md)."""
UNIQUE = ("hetzner", "docker", "command", "kubernetes")


VULTR = {"driver": "vultr", "image": "2284", "keys": {"key": TOKEN}}
OPENSTACK = {
    "driver": "openstack",
    "image": "Ubuntu 24.04",
    "keys": {"key": "operator", "secret": PASSWORD},
    "options": {"ex_force_auth_version": "3.x_password", "ex_tenant_name": "odm", "api_version": "2.2"},
}
CLOUDS["vultr"] = (VULTR, "ewr", "vc2-4c-8gb")
CLOUDS["openstack"] = (OPENSTACK, "", "b3-8")


KUBERNETES = {
    "token": TOKEN,
    "namespace": "odm",
    "sizes": {"small": {"cpu": "4", "memory": "16Gi"}, "gpu": {"cpu": "8", "memory": "32Gi", "gpu": 1}},
    "tags": ["team:maps"],
}
CLOUDS["kubernetes"] = (KUBERNETES, "", "small")


@asynccontextmanager
async def web(kind: str, size: str = "") -> AsyncIterator[Trial]:
    """An HTTP API of ours."""
    own, region, usual = CLOUDS[kind]
    place = "host" if kind == "docker" else "endpoint"
    async with serving(kind, boot_s=0.03, delete_s=0.03) as served:
        said = {how: said_by(served, how) for how in (How.CAPACITY, How.LIMIT, How.UNAUTHORISED, How.RATE, How.ERROR)}
        words = said | {How.LATE: said[How.ERROR]}
        async with http_faults(served.url, words, lambda *asked: step_of(served, *asked)) as faults:
            yield Trial(
                keys=own | {place: faults.url},
                straight=own | {place: served.url},
                faults=faults,
                slug=size or usual,
                region=region,
                secrets=[TOKEN, PASSWORD],
                required=REQUIRED.get(kind, ()),
                has_keys=kind != "docker",
                unique_names=kind in UNIQUE,
                unknown_ref="server/fr-par-1/none" if kind == "scaleway" else "424242",
                many_count=430 if kind == "kubernetes" else 230,  # more than two pages
                without=WITHOUT.get(kind, frozenset()),
                present=lambda: present(served),
                rent=lambda name: rented(served, name, size or usual),
            )


def said_by(served: Served, how: How) -> Words:
    answer = served.cloud.kind.complain(str(how))
    return Words(answer.status_code, bytes(answer.body), dict(answer.headers))


def step_of(served: Served, method: str, path: str, body: bytes) -> Step:
    verb = served.cloud.kind.verb(method, path)
    if verb == "action":  # scaleway: how a server is switched on, and how it is removed
        return Step.REMOVE if b"terminate" in body else Step.OTHER
    if verb == "get" and "/pods/" in path:  # kubernetes: how a name is looked for
        return Step.LIST
    return STEPS.get(verb, Step.OTHER)


def present(served: Served) -> list[str]:
    if isinstance(served.kind, Kubernetes):
        return served.kind.present()
    disks = [each["name"] for each in getattr(served.kind, "disks", ()) if not each["server"]]
    return [each.name for each in served.cloud.here()] + disks


def rented(served: Served, name: str, size: str) -> None:
    if isinstance(served.kind, Kubernetes):
        served.kind.rent(name)
        return
    labels = {"clusterodm.machine": name}
    number = f"77{len(served.cloud.machines.book)}"
    served.cloud.machines.create(number, name, size=size, labels=labels, region="fr-par-1")


AWS_STEPS = {"RunInstances": Step.CREATE, "DescribeInstances": Step.LIST, "TerminateInstances": Step.REMOVE}


def aws_words(how: str) -> Words:
    status: list[Any] = []
    body = b"".join(complaint(how, lambda line, headers: status.extend([line, headers])))
    return Words(int(status[0].split()[0]), body, dict(status[1]))


@asynccontextmanager
async def aws() -> AsyncIterator[Trial]:
    """EC2, played by moto."""
    async with moto_account() as account:
        own = {"accessKey": "AKIAEXAMPLE", "secretKey": TOKEN, "securityGroup": "default", "ami": account.image}

        def step(_method: str, _path: str, body: bytes) -> Step:
            return AWS_STEPS.get(parse_qs(body.decode()).get("Action", [""])[0], Step.OTHER)

        words = {How(how): aws_words(how) for how in ERRORS}
        async with http_faults(account.api.url, words, step) as faults:
            yield Trial(
                keys=own | {"endpoint": faults.url},
                straight=own | {"endpoint": account.api.url},
                faults=faults,
                slug="t2.medium",
                region="us-west-2",
                secrets=[TOKEN],
                required=("accessKey", "secretKey", "securityGroup"),
                unknown_ref="us-west-2/i-0123456789abcdef0",
                many_count=8,
                present=account.names,
                rent=account.rent,
            )


@asynccontextmanager
async def command(folder: Path) -> AsyncIterator[Trial]:
    """Three programs."""
    program = str(Path(__file__).parent / "rental_programs.py")
    faults = ProgramFaults(folder)
    machines = folder / "machines"
    machines.mkdir()
    words = {verb: [sys.executable, "-S", program, str(machines), verb] for verb in ("create", "list", "destroy")}
    steps = {"create": "create", "list": "list", "destroy": "remove"}

    def rent(name: str) -> None:
        (machines / f"{name}.0.json").write_text(json.dumps({"name": name, "ref": "job-0", "address": "127.0.0.8"}))

    yield Trial(
        keys={verb: faults.around(steps[verb], each) for verb, each in words.items()},
        straight=words,
        faults=faults,
        slug="long",
        required=("create", "list", "destroy"),
        has_keys=False,
        unique_names=True,
        without=frozenset({"hollow"}),  # everything may be left out of an answer
        many_count=8,
        present=lambda: [json.loads(each.read_text())["name"] for each in machines.glob("*.json")],
        rent=rent,
    )


Make = Callable[[Path], AbstractAsyncContextManager[Trial]]

RENTALS: Mapping[str, tuple[str, Make]] = {
    "digitalocean": ("digitalocean", lambda _: web("digitalocean")),
    "digitalocean with a graphics card": ("digitalocean", lambda _: web("digitalocean", size="gpu-4000adax1-20gb")),
    "hetzner": ("hetzner", lambda _: web("hetzner")),
    "scaleway": ("scaleway", lambda _: web("scaleway")),
    "scaleway with block storage": ("scaleway", lambda _: web("scaleway", size="PLAY2-NANO")),
    "docker": ("docker", lambda _: web("docker")),
    "aws": ("aws", lambda _: aws()),
    "command": ("command", command),
    "kubernetes": ("kubernetes", lambda _: web("kubernetes")),
    "libcloud's dummy": ("libcloud", lambda _: dummy()),
    "libcloud with vultr": ("libcloud", lambda _: web("vultr")),
    "libcloud with openstack": ("libcloud", lambda _: web("openstack")),
}
"""By what is tried: which kind, and its trial."""
