"""Texts of the file that nobody could make sense of: addresses, names and lists, each with a line that names the key."""

import json
from typing import Any

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.services.autoscaler.config.core.configuration import described
from clusterodm.services.autoscaler.config.core.file import parse, read
from clusterodm.services.autoscaler.config.core.reader import Outside
from clusterodm.services.autoscaler.config.core.wording import (
    mistake_in_address,
    mistake_in_bucket,
    mistake_in_image,
    mistake_in_storage,
)
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from tests.asr_files import AWS, DIGITALOCEAN, HETZNER

OUTSIDE = Outside(
    environment={"PADDED": " token\n"}, read=lambda _path: "", exists=lambda _path: True, kinds=VendorKinds()
)
DOCKER = {"provider": "docker", "keepResults": 0, "imageSizeMapping": [{"maxImages": 40, "slug": "any"}]}
VULTR = {
    "provider": "libcloud",
    "driver": "vultr",
    "keys": {"key": "made-up"},
    "image": "2284",
    "imageSizeMapping": [{"maxImages": 40, "slug": "vc2"}],
    "keepResults": 0,
}
PODS = {
    "provider": "kubernetes",
    "sizes": {"small": {"cpu": "4", "memory": "16Gi"}},
    "imageSizeMapping": [{"maxImages": 40, "slug": "small"}],
    "keepResults": 0,
}
PRICED = {"maxImages": 50, "slug": "cx33", "pricePerHour": 1}


def told(content: Any) -> str:
    with pytest.raises(Refused) as refused:
        read(content, OUTSIDE)
    return refused.value.message


def entry(**keys: Any) -> dict[str, Any]:
    return HETZNER | {"imageSizeMapping": [{"maxImages": 50, "slug": "cx33"} | keys]}


@pytest.mark.parametrize(
    "address",
    [
        "https://api.x .org",
        "api.example.org",
        "http://",
        "https:///v1",
        "ftp://example.org",
        "http://example.org:99999",
        "http://example.org:port",
        "http://[::1",
        "http://user:password@example.org",
    ],
)
@pytest.mark.parametrize("content", [DIGITALOCEAN, AWS, HETZNER, VULTR, PODS], ids=lambda content: content["provider"])
def test_what_is_no_address_of_an_api_is_a_mistake(address: str, content: dict[str, Any]):
    line = told(content | {"endpoint": address})
    assert line.startswith("endpoint: ")
    assert "password@" not in line


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "https://api.example.org/v2", "http://[::1]:3000", "https://x"]
)
def test_an_address_is_none(address: str):
    assert mistake_in_address(address) == ""


@pytest.mark.parametrize(
    ("content", "line"),
    [
        *(
            pytest.param(HETZNER | {"apiToken": token}, "apiToken: has characters that no key has", id=f"a token like {token!a}")
            for token in ("tok\xe9n", "to ken")
        ),
        pytest.param(HETZNER | {"endpoint": "http://x\ny"}, "endpoint: has characters that cannot be seen", id="line end"),
        pytest.param(HETZNER | {"location": []}, "location: is an empty list: name one, or leave it out", id="no region"),
        pytest.param(HETZNER | {"location": "fsn1 "}, "location: an entry has blanks or line ends around it", id="blank"),
        pytest.param(HETZNER | {"image": " ubuntu"}, "image: has blanks or line ends around it", id="blank before"),
        pytest.param(HETZNER | {"apiToken": "token\n"}, "apiToken: has blanks or line ends around it", id="token"),
        pytest.param(HETZNER | {"apiToken": {"env": "PADDED"}}, "apiToken: has blanks or line ends", id="token elsewhere"),
        pytest.param(HETZNER | {"dockerImage": "open drone/map"}, "dockerImage: is 'open drone/map', which", id="image"),
        pytest.param(HETZNER | {"engineInstallUrl": "get it"}, "engineInstallUrl: is 'get it', expected", id="script"),
        pytest.param(HETZNER | {"dockerRegistry": {"username": "u"}}, "dockerRegistry.url: is missing", id="registry"),
        pytest.param(HETZNER | {"s3": HETZNER["s3"] | {"endpoint": "s3 .org"}}, "s3.endpoint: is 's3 .org'", id="storage"),
        pytest.param(HETZNER | {"s3": HETZNER["s3"] | {"bucket": "my/bucket"}}, "s3.bucket: is 'my/bucket'", id="bucket"),
        pytest.param(HETZNER | {"s3": HETZNER["s3"] | {"acl": "public"}}, "s3.acl: is 'public', expected", id="acl"),
        pytest.param(HETZNER | {"minImages": 51}, "minImages: is 51, the largest size takes 50", id="nothing fits"),
        pytest.param(
            HETZNER | {"warm": [{"machines": 1, "maxImages": 5, "days": []}]}, "warm[0].days: is an empty list", id="days"
        ),
        pytest.param(entry(maxGigabytes=0), "imageSizeMapping[0].maxGigabytes: is 0", id="no gigabyte"),
        pytest.param(entry(memoryGigabytes=0), "imageSizeMapping[0].memoryGigabytes: is 0", id="no memory"),
        pytest.param(
            HETZNER | {"imageSizeMapping": [PRICED], "budgets": {"": {"maxDailyCost": 2}}},
            "budgets.: an owner without a name has no budget",
            id="nobody's budget",
        ),
        pytest.param(DOCKER | {"host": "nonsense"}, "host: is 'nonsense', expected an address like tcp://host", id="host"),
    ],
)  # fmt: skip
def test_every_mistake_names_its_key(content: dict[str, Any], line: str):
    assert told(content).startswith(line)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        pytest.param(
            HETZNER | {"imageSizeMapping": [PRICED], "maxHourlyCost": 0.5},
            "maxHourlyCost: is 0.5, and no machine costs so little for an hour: none is rented",
            id="less than any price",
        ),
        pytest.param(
            HETZNER | {"machinesLimit": 1, "warm": [{"machines": 3, "maxImages": 5}]},
            "warm: has 3 machines at a time, there may be no more than 1",
            id="more warm machines than any",
        ),
        pytest.param(
            HETZNER | {"imageSizeMapping": [PRICED, PRICED | {"maxImages": 60}]},
            "imageSizeMapping: has cx33 2 times",
            id="one size twice",
        ),
        pytest.param(HETZNER | {"mode": "api", "leaseTime": 1}, "leaseTime: is 1: so soon a machine ends", id="lease"),
    ],
)
def test_what_may_be_meant_is_noted(content: dict[str, Any], note: str):
    assert f"note: {note}" in described(read(content, OUTSIDE))


def test_a_key_that_stands_twice_is_a_mistake_wherever_it_stands():
    text = json.dumps(DOCKER).replace('"slug"', '"maxImages": 400, "slug"')
    with pytest.raises(Refused, match="not valid JSON: the key 'maxImages' stands twice in one object"):
        parse(text, OUTSIDE)


def test_a_region_that_stands_twice_is_one():
    assert read(HETZNER | {"location": ["fsn1", "hel1", "fsn1"]}, OUTSIDE).limits.regions == ("fsn1", "hel1")


def test_a_command_for_the_machine_may_have_several_lines():
    assert read(HETZNER | {"nodeSetupCmd": "one\ntwo\n"}, OUTSIDE).node.setup_command == "one\ntwo\n"


@pytest.mark.parametrize("address", ["unix:///var/run/docker.sock", "tcp://10.0.0.1:2375", "https://engine:2376"])
def test_an_engine_may_be_named_as_docker_does(address: str):
    assert read(DOCKER | {"host": address}, OUTSIDE).cloud.endpoint == address


@pytest.mark.parametrize(
    "image",
    [
        *(
            "opendronemap/nodeodm",
            "nodeodm",
            "nodeodm:3.5.5",
            "localhost:5000/odm/node_odm:Tag",
            "registry.example.org/a/b",
        ),
        *("ghcr.io/x/y@sha256:" + "a" * 64, "localhost:5000/x", "10.0.0.1:5000/x/y:1", "Registry.Example.org/x"),
    ],
)
def test_an_image_goes_by_every_name_that_docker_takes(image: str):
    assert mistake_in_image(image) == ""


@pytest.mark.parametrize(
    "image", ["a b", "NodeODM", "/x", "x:", "x//y", "x:tag with blanks", "x@sha256:abc", "-x", "x\n"]
)
def test_what_docker_takes_for_no_image_is_a_mistake(image: str):
    assert mistake_in_image(image)


def test_a_storage_goes_with_and_without_its_beginning():
    for right in ("s3.amazonaws.com", "https://s3.example.org", "127.0.0.1:8333", "http://minio:9000"):
        assert mistake_in_storage(right) == ""
    for wrong in ("ftp://s3.example.org", "s3.example.org:x", "s3 example", "http://"):
        assert mistake_in_storage(wrong)


def test_a_bucket_has_a_name_that_some_storage_takes():
    assert [name for name in ("b", "my.bucket-1", "Old_Bucket") if mistake_in_bucket(name)] == []
    assert all(mistake_in_bucket(name) for name in ("a b", "a/b", "-a", "a-", "x" * 256))
