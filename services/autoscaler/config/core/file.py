"""The `--asr` file: from its text to a `Configuration`, or to one line per mistake.

Known keys, types and defaults of every provider are the original's, so that its files work unchanged; its own examples
hold a trailing comma here and there, which is accepted. Adding a provider is a function in `CLOUD` and its name in
`configuration.PROVIDERS`. Sizes, limits, budget and warm pool are read in limits.py.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import (
    API,
    CLOUDS,
    DOCKER_MACHINE,
    MODES,
    PROVIDERS,
    CloudSettings,
    Configuration,
    NodeSettings,
    StepTimeouts,
)
from clusterodm.services.autoscaler.config.core.limits import limits
from clusterodm.services.autoscaler.config.core.reader import ObjectReader, Outside
from clusterodm.services.autoscaler.orders import DockerRegistry, S3Target

TRAILING_COMMA: Final = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
NO_PLACE: Final = (
    "is missing: results would go with their machine (give a bucket, or say with keepResults "
    "for how many seconds after its last task a machine shall stay so that they can be fetched)"
)


def parse(text: str, outside: Outside) -> Configuration:
    """Make a configuration of a file's text. Raises Refused with one line per mistake."""
    try:
        content = json.loads(TRAILING_COMMA.sub(lambda found: found[1] or "", text))
    except ValueError as error:
        raise Refused(f"not valid JSON: {error}") from None
    return read(content, outside)


def read(content: object, outside: Outside) -> Configuration:
    """Make a configuration of decoded JSON. Raises Refused with one line per mistake."""
    if not isinstance(content, Mapping):
        raise Refused("the file must hold a JSON object")
    provider = content.get("provider")
    if not provider:
        raise Refused(f"the file names no provider, one of {', '.join(PROVIDERS)}")
    if provider not in PROVIDERS:
        raise Refused(f"unknown provider {provider!r}, expected one of {', '.join(PROVIDERS)}")
    reader = ObjectReader(content, outside)
    reader.ignore("provider")
    found = configuration(str(provider), reader)
    if mistakes := reader.finish():
        raise Refused("\n".join(mistakes))
    return found


def configuration(provider: str, reader: ObjectReader) -> Configuration:
    """Read all of it; mistakes stay with the reader."""
    cloud = CLOUD[provider](reader)
    return Configuration(
        provider=provider,
        mode=reader.choice("mode", MODES, DOCKER_MACHINE) if provider in CLOUDS else API,
        limits=limits(provider, reader),
        cloud=cloud,
        node=node(provider, reader, cloud),
        timeouts=timeouts(reader),
        downloads=reader.choice("downloads", ("redirect", "stream"), "redirect"),
    )


def timeouts(reader: ObjectReader) -> StepTimeouts:
    """Read how long the steps may take."""
    usual = StepTimeouts()
    return StepTimeouts(
        create_s=reader.count("createTimeout", usual.create_s, least=1),
        set_up_s=reader.count("setupTimeout", usual.set_up_s, least=1),
        online_s=reader.count("onlineTimeout", usual.online_s, least=1),
        destroy_s=reader.count("destroyTimeout", usual.destroy_s, least=1),
    )


def digitalocean(reader: ObjectReader) -> CloudSettings:
    """Read what is DigitalOcean's."""
    fingerprint, path = ssh_key(reader)
    return CloudSettings(
        keys={"accessToken": reader.secret("accessToken", required=True)},
        image=reader.text("image", "ubuntu-16-04-x64"),
        snapshot=reader.flag("snapshot"),
        ssh_fingerprint=fingerprint,
        ssh_path=path,
        tags=reader.texts("tags", ("clusterodm",)),
        monitoring=reader.flag("monitoring", True),
        engine_install_url=reader.text("engineInstallUrl"),
        endpoint=reader.text("endpoint"),
    )


def aws(reader: ObjectReader) -> CloudSettings:
    """Read what is Amazon's."""
    fingerprint, path = ssh_key(reader)
    return CloudSettings(
        keys={
            "accessKey": reader.secret("accessKey", required=True),
            "secretKey": reader.secret("secretKey", required=True),
        },
        image=reader.text("ami", "ami-07b4f3c02c7f83d59"),
        ssh_fingerprint=fingerprint,
        ssh_path=path,
        tags=reader.texts("tags", ("clusterodm",)),
        monitoring=reader.flag("monitoring"),
        engine_install_url=reader.text("engineInstallUrl"),
        security_group=reader.text("securityGroup", required=True),
        vpc=reader.text("vpc"),
        subnet=reader.text("subnet"),
        zone=reader.text("zone"),
        iam_role=reader.text("iamrole"),
        use_private_address=reader.flag("usePrivateAddress"),
        private_address_only=reader.flag("assignPrivateAddressOnly"),
        spot=reader.flag("spot"),
        endpoint=reader.text("endpoint"),
    )


def hetzner(reader: ObjectReader) -> CloudSettings:
    """Read what is Hetzner's."""
    fingerprint, path = ssh_key(reader)
    return CloudSettings(
        keys={"apiToken": reader.secret("apiToken", required=True)},
        image=reader.text("image", "ubuntu-18.04"),
        snapshot=reader.flag("snapshot"),
        ssh_fingerprint=fingerprint,
        ssh_path=path,
        tags=reader.texts("tags"),
        engine_install_url=reader.text("engineInstallUrl"),
        endpoint=reader.text("endpoint"),
    )


def scaleway(reader: ObjectReader) -> CloudSettings:
    """Read what is Scaleway's."""
    return CloudSettings(
        keys={
            "organization": reader.secret("organization", required=True),
            "secretToken": reader.secret("secretToken", required=True),
        },
        image=reader.text("image", "ubuntu-xenial"),
        tags=reader.texts("tags"),
        engine_install_url=reader.text("engineInstallUrl"),
        endpoint=reader.text("endpoint"),
    )


def docker(reader: ObjectReader) -> CloudSettings:
    """Read which engine runs the containers, and in which network."""
    return CloudSettings(endpoint=reader.text("host"), network=reader.text("network"), tags=reader.texts("tags"))


def command(reader: ObjectReader) -> CloudSettings:
    """Read the three programs."""
    commands = {name: reader.texts(name) for name in ("create", "list", "destroy")}
    for name, words in commands.items():
        if not words:
            reader.wrong(name, "is missing: the program to call, or a list of it and its arguments")
    return CloudSettings(commands=commands)


CLOUD: Final[Mapping[str, Callable[[ObjectReader], CloudSettings]]] = {
    "digitalocean": digitalocean,
    "aws": aws,
    "hetzner": hetzner,
    "scaleway": scaleway,
    "docker": docker,
    "command": command,
}


def ssh_key(reader: ObjectReader) -> tuple[str, str]:
    """Read an existing SSH key: fingerprint and path, or two empty texts."""
    key = reader.section("sshKey")
    return key.text("fingerprint"), key.existing("path")


def node(provider: str, reader: ObjectReader, cloud: CloudSettings) -> NodeSettings:
    """Read what runs on each machine."""
    mount = reader.text("dockerDataDirMountPath") or reader.text("dataDirMountPath")
    return NodeSettings(
        image=reader.text("dockerImage", "opendronemap/nodeodm"),
        gpu=reader.flag("dockerGpu"),
        swap_ratio=reader.ratio("addSwap", 1.0),
        data_mount=mount,
        setup_command=reader.text("nodeSetupCmd"),
        registry=registry(reader.section("dockerRegistry")),
        s3=storage(provider, reader, cloud),
        lease_s=reader.limit("leaseTime", least=0) or 0,
    )


def registry(reader: ObjectReader) -> DockerRegistry | None:
    """Read where private images come from; None when no URL is given."""
    found = DockerRegistry(url=reader.text("url"), username=reader.text("username"), password=reader.secret("password"))
    return found if found.url else None


def storage(provider: str, reader: ObjectReader, cloud: CloudSettings) -> S3Target | None:
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


def s3_keys(provider: str, section: ObjectReader, cloud: CloudSettings) -> tuple[Secret, Secret]:
    """Read the keys of the bucket; on aws they are those of the account unless others are given."""
    own = provider != "aws" or section.has("accessKey") or section.has("secretKey")
    if not own:
        section.ignore("accessKey", "secretKey")
        return cloud.keys["accessKey"], cloud.keys["secretKey"]
    return section.secret("accessKey", required=True), section.secret("secretKey", required=True)
