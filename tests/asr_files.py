"""`--asr` files for tests: every key that an existing installation may have, with made-up values; and how they are read."""

from collections.abc import Callable
from typing import Any

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.services.autoscaler.config.core.reader import Outside
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds

OUTSIDE = Outside({}, lambda _path: "", lambda _path: True, VendorKinds())
"""Nothing in the environment; every file that a file names is there, and empty."""

S3: dict[str, Any] = {
    "accessKey": "S3ACCESSKEY",
    "secretKey": "s3-secret-key",
    "endpoint": "127.0.0.1:8333",
    "bucket": "results",
    "ignoreSSL": False,
}
COMMON: dict[str, Any] = {
    "maxRuntime": -1,
    "maxUploadTime": -1,
    "createRetries": 2,
    "engineInstallUrl": '"https://example.org/install-docker.sh"',
    "addSwap": 1,
    "dockerImage": "opendronemap/nodeodm",
    "dockerGpu": False,
    "dockerRegistry": {"username": "", "password": "", "url": ""},
}
DIGITALOCEAN: dict[str, Any] = {
    **COMMON,
    "provider": "digitalocean",
    "accessToken": "do-access-token",
    "s3": S3,
    "dropletsLimit": 30,
    "region": ["sfo2", "sfo1"],
    "monitoring": True,
    "image": "ubuntu-22-04-x64",
    "tags": ["clusterodm"],
    "snapshot": False,
    "sshKey": {"fingerprint": "", "path": ""},
    "imageSizeMapping": [
        {"maxImages": 40, "slug": "s-2vcpu-2gb"},
        {"maxImages": 250, "slug": "s-4vcpu-8gb"},
        {"maxImages": 500, "slug": "s-6vcpu-16gb"},
    ],
    "minImages": -1,
}
AWS: dict[str, Any] = {
    **COMMON,
    "provider": "aws",
    "accessKey": "AWSACCESSKEY",
    "secretKey": "aws-secret-key",
    "s3": {"endpoint": "127.0.0.1:8333", "bucket": "results", "acl": "none"},
    "vpc": "",
    "subnet": "",
    "securityGroup": "nodes",
    "usePrivateAddress": False,
    "assignPrivateAddressOnly": False,
    "monitoring": False,
    "instanceLimit": -1,
    "region": "us-west-2",
    "zone": "a",
    "tags": ["type,clusterodm"],
    "ami": "ami-1234",
    "spot": True,
    "imageSizeMapping": [
        {"maxImages": 40, "slug": "t3a.small", "spotPrice": 0.02, "storage": 60},
        {"maxImages": 250, "slug": "m5.large", "spotPrice": 0.1, "storage": 160},
    ],
    "dockerDataDirMountPath": "",
    "iamrole": "",
    "nodeSetupCmd": "",
}
HETZNER: dict[str, Any] = {
    **COMMON,
    "provider": "hetzner",
    "apiToken": "hetzner-api-token",
    "s3": S3,
    "machinesLimit": -1,
    "location": "fsn1",
    "image": "ubuntu-22.04",
    "snapshot": False,
    "sshKey": {"fingerprint": "", "path": ""},
    "imageSizeMapping": [{"maxImages": 5, "slug": "cx22"}, {"maxImages": 50, "slug": "cx32"}],
    "minImages": -1,
}
SCALEWAY: dict[str, Any] = {
    **COMMON,
    "provider": "scaleway",
    "organization": "scaleway-organization",
    "secretToken": "scaleway-secret-token",
    "s3": S3,
    "machinesLimit": -1,
    "region": "par1",
    "image": "ubuntu-jammy",
    "imageSizeMapping": [{"maxImages": 5, "slug": "GP1-XS"}, {"maxImages": 50, "slug": "GP1-S"}],
    "minImages": -1,
}
FILES = {"digitalocean": DIGITALOCEAN, "aws": AWS, "hetzner": HETZNER, "scaleway": SCALEWAY}
SECRETS = {
    "digitalocean": ("do-access-token", "S3ACCESSKEY", "s3-secret-key"),
    "aws": ("AWSACCESSKEY", "aws-secret-key"),
    "hetzner": ("hetzner-api-token", "S3ACCESSKEY", "s3-secret-key"),
    "scaleway": ("scaleway-organization", "scaleway-secret-token", "S3ACCESSKEY", "s3-secret-key"),
}


def mistakes_in(read: Callable[..., object], *content: Any, **more: Any) -> list[str]:
    """Give the mistakes that are told of a file, which there have to be."""
    with pytest.raises(Refused) as refused:
        read(*content, **more)
    return refused.value.message.splitlines()


def simulated_hetzner(token: str, url: str, **keys: Any) -> dict[str, Any]:
    """Write a file for a simulated Hetzner by its API; nothing answers where its bucket is."""
    return {
        "provider": "hetzner",
        "mode": "api",
        "apiToken": token,
        "endpoint": url,
        "location": "fsn1",
        "image": "ubuntu-22.04",
        "imageSizeMapping": [{"maxImages": 40, "slug": "cx21"}],
        "s3": {"accessKey": "a", "secretKey": "b", "endpoint": "http://127.0.0.1:1", "bucket": "results"},
        **keys,
    }
