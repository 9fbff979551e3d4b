"""What the `--asr` file says about the node on each machine, and about where its results go."""

from typing import Final

from libs.common.secret import Secret
from services.autoscaler.core.configuration import CLOUDS, Cloud, Node
from services.autoscaler.core.orders import Registry, S3Target
from services.autoscaler.core.reader import Reader

NO_PLACE: Final = (
    "is missing: results would go with their machine (give a bucket, or say with keepResults "
    "for how many seconds after its last task a machine shall stay so that they can be fetched)"
)


def node(provider: str, reader: Reader, cloud: Cloud) -> Node:
    """Read what runs on each machine."""
    mount = reader.text("dockerDataDirMountPath") or reader.text("dataDirMountPath")
    return Node(
        image=reader.text("dockerImage", "opendronemap/nodeodm"),
        gpu=reader.flag("dockerGpu"),
        swap_ratio=reader.ratio("addSwap", 1.0),
        data_mount=mount,
        setup_command=reader.text("nodeSetupCmd"),
        registry=registry(reader.section("dockerRegistry")),
        s3=storage(provider, reader, cloud),
        lease_s=reader.limit("leaseTime", least=0) or 0,
    )


def registry(reader: Reader) -> Registry | None:
    """Read where private images come from; None when no URL is given."""
    found = Registry(url=reader.text("url"), username=reader.text("username"), password=reader.secret("password"))
    return found if found.url else None


def storage(provider: str, reader: Reader, cloud: Cloud) -> S3Target | None:
    """Read where results go. Machines go, and what nobody else has goes with them: who wants that has to say so."""
    if provider not in CLOUDS and not reader.has("s3"):
        if not reader.has("keepResults"):
            reader.wrong("s3", NO_PLACE)
        return None
    section = reader.section("s3", required=True)
    if not reader.has("s3"):
        section.ignore("endpoint", "bucket", "accessKey", "secretKey", "acl", "ignoreSSL")
        return None
    access, secret = s3_keys(provider, section, cloud)
    return S3Target(
        endpoint=section.text("endpoint", required=True),
        bucket=section.text("bucket", required=True),
        access_key=access,
        secret_key=secret,
        acl=section.text("acl", "public-read" if provider == "aws" else ""),
        ignore_ssl=section.flag("ignoreSSL"),
    )


def s3_keys(provider: str, section: Reader, cloud: Cloud) -> tuple[Secret, Secret]:
    """Read the keys of the bucket; on aws they are those of the account unless others are given."""
    own = provider != "aws" or section.has("accessKey") or section.has("secretKey")
    if not own:
        section.ignore("accessKey", "secretKey")
        return cloud.keys["accessKey"], cloud.keys["secretKey"]
    return section.secret("accessKey", required=True), section.secret("secretKey", required=True)
