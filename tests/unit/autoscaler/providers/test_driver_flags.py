"""The words for docker-machine and for the machine: exactly what each driver takes, and no secret among them."""

import shlex
from dataclasses import replace
from typing import Any

import pytest

from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.machinesim.flags import DRIVERS, Usage, parse
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.config.core.file import read
from clusterodm.services.autoscaler.orders import DockerRegistry, Launch, Offer, Order, Size
from clusterodm.services.autoscaler.providers.adapters.docker_machine.driver import (
    Resolved,
    create_words,
    environment,
    flags_in,
    meaning,
    missing_extras,
    set_up_script,
)
from tests.asr_files import AWS, DIGITALOCEAN, FILES, HETZNER, OUTSIDE, SCALEWAY, SECRETS


def configured(content: dict[str, Any]) -> Configuration:
    return read(content, OUTSIDE)


def ordered(found: Configuration, **launch: Any) -> Order:
    return Order(
        name=MachineId("clusterodm-abc-9-xyz"),
        offer=Offer(size=found.limits.sizes[0], region=found.limits.regions[0]),
        launch=Launch(**{"image": "nodeodm", "token": Secret("node-token"), "s3": found.node.s3, **launch}),
        tags={"clusterodm-cluster": "abc"},
    )


def words(content: dict[str, Any], **changes: Any) -> list[str]:
    found = configured(content | changes)
    return create_words(found, ordered(found), Resolved(found.cloud.image, found.limits.regions[0], ssh_key_id="7"))


@pytest.mark.parametrize("provider", FILES)
def test_the_words_pass_the_strict_parser_and_hold_no_secret(provider: str):
    found = words(FILES[provider])
    variables = {name: secret.reveal() for name, secret in environment(configured(FILES[provider])).items()}
    assert found[:2] == ["create", "--driver"]
    given = parse(found[2], found[1:], variables)
    assert given.words == ["clusterodm-abc-9-xyz"]
    assert not any(secret in word for word in found for secret in SECRETS[provider])


HELP = """Usage: docker-machine create [OPTIONS] [arg...]

Options:
   --driver, -d "virtualbox"\tDriver to create machine with. [$MACHINE_DRIVER]
   --engine-label [--engine-label option --engine-label option]\tSpecify labels for the created engine, --like-this
   --hetzner-image "ubuntu-18.04"\tImage to use for server creation [$HETZNER_IMAGE]
   --swarm\tConfigure Machine to join a Swarm cluster
"""


def test_the_flags_that_a_driver_knows_are_read_from_its_help():
    assert flags_in(HELP.splitlines()) == {"--driver", "--engine-label", "--hetzner-image", "--swarm"}


def test_only_what_a_machine_can_do_without_is_left_out():
    found = configured(HETZNER)
    wanted = create_words(found, ordered(found), Resolved("ubuntu-24.04", "fsn1"))
    known = {word for word in wanted if word.startswith("--")} - {"--hetzner-server-label", "--hetzner-image"}
    given = create_words(found, ordered(found), Resolved("ubuntu-24.04", "fsn1"), known)
    place = wanted.index("--hetzner-server-label")
    labels = wanted.count("--hetzner-server-label")
    assert given == wanted[:place] + wanted[place + 2 * labels :]
    assert missing_extras(found, known) == ["--hetzner-server-label"]


def test_digitalocean_has_its_flags():
    assert words(DIGITALOCEAN, sshKey={"fingerprint": "ab:cd", "path": "/key"})[3:] == [
        "--digitalocean-region", "sfo2",
        "--digitalocean-image", "ubuntu-22-04-x64",
        "--digitalocean-size", "s-2vcpu-2gb",
        "--digitalocean-monitoring",
        "--digitalocean-tags", "clusterodm,clusterodm-cluster:abc",
        "--digitalocean-ssh-key-fingerprint", "ab:cd",
        "--digitalocean-ssh-key-path", "/key",
        "--engine-install-url", '"https://example.org/install-docker.sh"',
        "clusterodm-abc-9-xyz",
    ]  # fmt: skip


def test_aws_has_its_flags():
    more = {"vpc": "vpc-1", "subnet": "sub-1", "iamrole": "role", "usePrivateAddress": True, "monitoring": True}
    assert words(AWS, assignPrivateAddressOnly=True, **more)[3:] == [
        "--amazonec2-region", "us-west-2",
        "--amazonec2-ami", "ami-1234",
        "--amazonec2-instance-type", "t3a.small",
        "--amazonec2-security-group", "nodes",
        "--amazonec2-root-size", "60",
        "--amazonec2-monitoring",
        "--amazonec2-request-spot-instance",
        "--amazonec2-spot-price", "0.02",
        "--amazonec2-tags", "clusterodm-cluster,abc,type,clusterodm",
        "--amazonec2-use-private-address",
        "--amazonec2-private-address-only",
        "--amazonec2-zone", "a",
        "--amazonec2-vpc-id", "vpc-1",
        "--amazonec2-subnet-id", "sub-1",
        "--amazonec2-iam-instance-profile", "role",
        "--engine-install-url", '"https://example.org/install-docker.sh"',
        "clusterodm-abc-9-xyz",
    ]  # fmt: skip


def test_hetzner_has_its_flags():
    assert words(HETZNER, sshKey={"fingerprint": "ab", "path": "/key"}, snapshot=True)[3:-3] == [
        "--hetzner-server-location", "fsn1",
        "--hetzner-server-type", "cx22",
        "--hetzner-image-id", "ubuntu-22.04",
        "--hetzner-server-label", "clusterodm-cluster=abc",
        "--hetzner-existing-key-id", "7",
        "--hetzner-existing-key-path", "/key",
    ]  # fmt: skip


def test_scaleway_has_its_flags():
    assert words(SCALEWAY)[3:-3] == [
        "--scaleway-name", "clusterodm-abc-9-xyz",
        "--scaleway-region", "par1",
        "--scaleway-image", "ubuntu-jammy",
        "--scaleway-commercial-type", "GP1-XS",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param(
            ["--digitalocean-regoin", "x", "m"], "flag provided but not defined: -digitalocean-regoin", id="?"
        ),
        pytest.param(["--digitalocean-region"], "flag needs an argument: -digitalocean-region", id="no value"),
        pytest.param(["--digitalocean-ssh-port", "x", "m"], 'invalid value "x" for flag', id="no number"),
        pytest.param(["--digitalocean-monitoring=perhaps", "m"], "invalid boolean value", id="no truth"),
        pytest.param(["m"], "requires the --digitalocean-access-token option", id="no token"),
    ],
)
def test_the_strict_parser_is_strict(given: list[str], says: str):
    with pytest.raises(Usage, match=says.replace("?", r"\?")):
        parse("digitalocean", given, {})


def test_the_strict_parser_knows_every_driver():
    assert {driver: len(flags.split("\n")) - 2 for driver, flags in DRIVERS.items()} == {
        "digitalocean": 14,
        "amazonec2": 32,
        "hetzner": 32,
        "scaleway": 13,
    }


def test_the_script_does_every_part_once():
    found = configured(DIGITALOCEAN)
    script = set_up_script(
        ordered(
            found,
            swap_ratio=1.5,
            gpu=True,
            setup_command="echo 'hello'",
            registry=DockerRegistry(url="reg.example.org", username="me", password=Secret("pass'word")),
            max_images=40,
            webhook_url=Secret("http://c/commit?token=s"),
        ).launch
    )
    assert "$2 * 1.5 * 1024" in script
    assert "printf %s " + shlex.quote("pass'word") + " | docker login -u me --password-stdin reg.example.org" in script
    assert "bash -c 'echo '\"'\"'hello'\"'\"''" in script
    assert (
        "docker run -d -p 3000:3000 --gpus all nodeodm -q 1 --max_images 40 --s3_access_key S3ACCESSKEY "
        "--s3_secret_key s3-secret-key --s3_endpoint 127.0.0.1:8333 --s3_bucket results "
        "--webhook 'http://c/commit?token=s' --token node-token" in script
    )


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("POST https://api.digitalocean.com/v2/droplets: 401 Unable to authenticate you", Trouble.UNAUTHORISED),
        ("InsufficientInstanceCapacity: We currently do not have sufficient capacity", Trouble.OUT_OF_CAPACITY),
        ("422 will exceed your droplet limit", Trouble.OUT_OF_CAPACITY),
        ("422 You specified an invalid size", Trouble.REFUSED),
        ("flag provided but not defined: -x", Trouble.REFUSED),
        ("dial tcp: i/o timeout", Trouble.RETRYABLE),
    ],
)
def test_the_last_words_of_a_driver_have_a_meaning(text: str, trouble: Trouble):
    assert meaning(text) is trouble


def test_a_spot_machine_of_a_size_that_the_file_has_no_more_is_asked_for_without_a_price():
    found = configured(AWS)
    order = ordered(found)
    order = replace(order, offer=Offer(size=Size(slug="m5.large", max_images=9, spot=True), region="us-west-2"))
    words = create_words(found, order, Resolved("ami-1", "us-west-2"))
    assert "--amazonec2-request-spot-instance" in words
    assert "--amazonec2-spot-price" not in words
