"""Stand-ins of every kind of provider for whole clusters, and a cluster that rents its machines from one.

    with rental("hetzner", tmp_path, seaweed) as machines:
        async with renting(tmp_path, machines) as cluster: ...

All do the same for a test: say what there is (`here`), what there ever was (`made`), and hold the answer to the next
creation back (`hold`), so that something can happen while the provider has a machine that nobody knows of yet.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pyodm
import pytest

from clusterodm.libs.common.messages.machines import LIST_MACHINES, ListMachines
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.machinesim.cloud_api_ec2 import Ec2Api
from clusterodm.libs.machinesim.cloud_api_machines import Machines
from clusterodm.libs.machinesim.cloud_api_testing import CloudApiProcess
from clusterodm.libs.machinesim.testing import DockerMachineSim
from tests import machine_programs
from tests.asr_files import FILES, SECRETS
from tests.cluster import Cluster
from tests.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed

TASK_TIME_S = 3.0
BOOT_S = 0.3
HELD_S = 3.0
"""How long the answer to a creation is held back, if nothing else is said."""
NODE = {"task_time_s": TASK_TIME_S, "console_lines_per_s": 400.0}
OURS = "clusterodm-"
API_KINDS = ("digitalocean", "hetzner", "scaleway", "aws", "docker", "command")
KINDS = ("docker-machine", *API_KINDS)
PLACES: Mapping[str, dict[str, Any]] = {
    "digitalocean": {"mode": "api", "region": "nyc3", "imageSizeMapping": [{"maxImages": 40, "slug": "s-4vcpu-8gb"}]},
    "hetzner": {"mode": "api", "location": "fsn1", "imageSizeMapping": [{"maxImages": 40, "slug": "cx21"}]},
    "scaleway": {"mode": "api", "imageSizeMapping": [{"maxImages": 40, "slug": "GP1-XS"}]},
    "docker": {"provider": "docker", "network": "odm", "imageSizeMapping": [{"maxImages": 40, "slug": "any"}]},
}
KEYS = {"digitalocean": "accessToken", "hetzner": "apiToken", "scaleway": "secretToken"}


@dataclass(kw_only=True)
class Rental:
    """One provider's stand-in."""

    kind: str
    content: dict[str, Any]
    """The autoscaler's file."""
    here: Callable[[], list[str]]
    """Names of our machines that exist, and cost."""
    made: Callable[[], list[str]]
    """Names of all our machines that ever were."""
    hold: Callable[[], None]
    """Let the next creation be carried out and its answer come late."""
    release: Callable[[], None]
    """Let answers come again, where that is not by itself."""
    environment: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Keys that stand in the file."""


def ours(names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(OURS)]


def nothing() -> None:
    """Do nothing."""


def stored(content: Mapping[str, Any], seaweed: Seaweed) -> dict[str, Any]:
    """A file with the bucket that is there."""
    keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY, "endpoint": seaweed.endpoint, "bucket": "results"}
    return {**content, "s3": {**keys, "acl": "none"}}


@contextmanager
def rental(kind: str, folder: Path, seaweed: Seaweed, held_s: float = HELD_S) -> Iterator[Rental]:
    """Run a provider's stand-in. `held_s`: how long answers are held back, where not until `release`."""
    match kind:
        case "docker-machine":
            maker = by_docker_machine(folder, seaweed)
        case "command":
            maker = by_command(folder, seaweed)
        case "aws":
            maker = by_ec2(seaweed, held_s)
        case _:
            maker = by_api(kind, seaweed, held_s)
    with maker as found:
        yield found


@contextmanager
def by_api(kind: str, seaweed: Seaweed, held_s: float) -> Iterator[Rental]:
    with CloudApiProcess(kind, nodes=True, node=NODE, boot_s=BOOT_S, delete_s=BOOT_S, slow_s=held_s) as cloud:
        where = {"host": cloud.url} if kind == "docker" else {"endpoint": cloud.url, KEYS[kind]: cloud.token}
        yield Rental(
            kind=kind,
            content=stored({**FILES.get(kind, {}), **PLACES[kind], **where}, seaweed),
            here=lambda: ours(cloud.here()),
            made=lambda: ours([each["name"] for each in cloud.machines()]),
            hold=lambda: cloud.fail("create", "mute"),
            release=nothing,
            secrets=(*SECRETS.get(kind, ()), cloud.token),
        )


@contextmanager
def by_ec2(seaweed: Seaweed, held_s: float) -> Iterator[Rental]:
    machines = Machines(nodes=NODE, boot_s=BOOT_S)
    with Ec2Api(machines, slow_s=held_s) as api:
        client = boto3.session.Session().client(
            "ec2", "us-west-2", endpoint_url=api.url, aws_access_key_id="other", aws_secret_access_key="other"
        )
        place = {
            "mode": "api",
            "endpoint": api.url,
            "ami": client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
            "securityGroup": "default",
            "imageSizeMapping": [{"maxImages": 40, "slug": "t2.medium", "spotPrice": 0.1, "storage": 60}],
        }
        yield Rental(
            kind="aws",
            content=stored({**FILES["aws"], **place}, seaweed),
            here=lambda: ours([each.name for each in machines.here()]),
            made=lambda: ours([each.name for each in machines.book]),
            hold=lambda: api.fail("create", "mute"),
            release=nothing,
            secrets=(*SECRETS["aws"], ACCESS_KEY, SECRET_KEY),
        )


@contextmanager
def by_command(folder: Path, seaweed: Seaweed) -> Iterator[Rental]:
    place = folder / "programs"
    place.mkdir()
    words = {
        verb: [sys.executable, "-m", "tests.machine_programs", str(place), verb]
        for verb in ("create", "list", "destroy")
    }
    book = place / "made"
    try:
        yield Rental(
            kind="command",
            content=stored(
                {"provider": "command", **words, "imageSizeMapping": [{"maxImages": 40, "slug": "any"}]}, seaweed
            ),
            here=lambda: sorted(path.name.split(".")[0] for path in place.glob("*.json")),
            made=lambda: book.read_text().split() if book.exists() else [],
            hold=(place / "hold").touch,
            release=lambda: (place / "hold").unlink(missing_ok=True),
            environment={"NODE_SETTINGS": json.dumps(NODE), "PYTHONPATH": str(machine_programs.REPOSITORY)},
            secrets=(ACCESS_KEY, SECRET_KEY),
        )
    finally:
        (place / "hold").unlink(missing_ok=True)
        for file in place.glob("*.json"):
            machine_programs.end(file)


@contextmanager
def by_docker_machine(folder: Path, seaweed: Seaweed) -> Iterator[Rental]:
    with DockerMachineSim(folder / "dm", network=10 + os.getpid() % 200) as machines:
        machines.order(node=NODE, create_s=0.3, ssh_s=0.1, rm_s=0.2)
        yield Rental(
            kind="docker-machine",
            content=stored(FILES["digitalocean"], seaweed),
            here=lambda: ours(list(machines.rented())),
            made=lambda: ours([call[-1] for call in machines.calls("create")]),
            hold=lambda: machines.order(provision_s=1.5),
            release=nothing,
            environment=machines.environment,
            secrets=SECRETS["digitalocean"],
        )


SHARED = ("s3", "createRetries", "maxRuntime", "maxUploadTime", "minImages")
"""Keys that stand beside `providers`."""


@contextmanager
def two_rentals(first: str, second: str, seaweed: Seaweed, **changes: Any) -> Iterator[Rental]:
    """Two clouds in one file; the first has room for one machine. `changes`: what stands beside the two."""
    with by_api(first, seaweed, HELD_S) as one, by_api(second, seaweed, HELD_S) as other:
        own = [{key: value for key, value in each.content.items() if key not in SHARED} for each in (one, other)]
        own[0]["machinesLimit"] = 1

        def hold() -> None:
            one.hold()
            other.hold()

        yield Rental(
            kind=f"{first} and {second}",
            content={"providers": own, "s3": one.content["s3"], **changes},
            here=lambda: [*one.here(), *other.here()],
            made=lambda: [*one.made(), *other.made()],
            hold=hold,
            release=nothing,
            secrets=(*one.secrets, *other.secrets),
        )


@asynccontextmanager
async def renting(folder: Path, machines: Rental, **settings: Any) -> AsyncIterator[Cluster]:
    """A cluster without any node of its own; everything is looked at often."""
    file = folder / "asr.json"
    file.write_text(json.dumps(machines.content))
    often = {"asr_every_s": 0.2, "asr_reconcile_s": 1, "asr_poll_s": 0.2, "asr_cross_check": "false", **settings}
    cluster = Cluster(folder / "cluster", **{"asr": file, **often})
    cluster._settings["public_address"] = cluster.url
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in machines.environment.items():
            patch.setenv(name, value)
        async with cluster:
            yield cluster


async def machines_of(cluster: Cluster) -> list[Machine]:
    """All machines that there were, as the autoscaler tells them."""
    asked = ListMachines(ended=True)
    return [view.machine for view in (await cluster.bus.request(LIST_MACHINES, asked, timeout_s=15)).machines]


async def all_gone(cluster: Cluster, machines: Rental) -> bool:
    """Whether nothing is left: at the provider, in the records, among the nodes."""
    known = await machines_of(cluster)
    if not known or not all(machine.state.ended for machine in known):
        return False
    return not await asyncio.to_thread(machines.here) and not await cluster.nodes()


async def create(cluster: Cluster, images: list[Path]) -> pyodm.api.Task:
    """Have a client send a task."""
    node = pyodm.Node("127.0.0.1", cluster.port, cluster.token)
    return await asyncio.to_thread(node.create_task, [str(path) for path in images], {})


async def finish(task: pyodm.api.Task) -> str:
    """Wait until a task has ended, as a client does; its state."""
    await asyncio.to_thread(task.wait_for_completion, interval=0.3)
    return str((await asyncio.to_thread(task.info)).status.name)
