"""What each provider's section of the `--asr` file says: the keys, names and defaults are the original's."""

from collections.abc import Callable, Mapping
from typing import Final

from services.autoscaler.core.configuration import Cloud
from services.autoscaler.core.reader import Reader


def digitalocean(reader: Reader) -> Cloud:
    """Read what is DigitalOcean's."""
    fingerprint, path = ssh_key(reader)
    return Cloud(
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


def aws(reader: Reader) -> Cloud:
    """Read what is Amazon's."""
    fingerprint, path = ssh_key(reader)
    return Cloud(
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


def hetzner(reader: Reader) -> Cloud:
    """Read what is Hetzner's."""
    fingerprint, path = ssh_key(reader)
    return Cloud(
        keys={"apiToken": reader.secret("apiToken", required=True)},
        image=reader.text("image", "ubuntu-18.04"),
        snapshot=reader.flag("snapshot"),
        ssh_fingerprint=fingerprint,
        ssh_path=path,
        tags=reader.texts("tags"),
        engine_install_url=reader.text("engineInstallUrl"),
        endpoint=reader.text("endpoint"),
    )


def scaleway(reader: Reader) -> Cloud:
    """Read what is Scaleway's."""
    return Cloud(
        keys={
            "organization": reader.secret("organization", required=True),
            "secretToken": reader.secret("secretToken", required=True),
        },
        image=reader.text("image", "ubuntu-xenial"),
        tags=reader.texts("tags"),
        engine_install_url=reader.text("engineInstallUrl"),
        endpoint=reader.text("endpoint"),
    )


def docker(reader: Reader) -> Cloud:
    """Read which engine runs the containers, and in which network."""
    return Cloud(endpoint=reader.text("host"), network=reader.text("network"), tags=reader.texts("tags"))


def command(reader: Reader) -> Cloud:
    """Read the three programs."""
    commands = {name: reader.texts(name) for name in ("create", "list", "destroy")}
    for name, words in commands.items():
        if not words:
            reader.wrong(name, "is missing: the program to call, or a list of it and its arguments")
    return Cloud(commands=commands)


CLOUD: Final[Mapping[str, Callable[[Reader], Cloud]]] = {
    "digitalocean": digitalocean,
    "aws": aws,
    "hetzner": hetzner,
    "scaleway": scaleway,
    "docker": docker,
    "command": command,
}


def ssh_key(reader: Reader) -> tuple[str, str]:
    """Read an existing SSH key: fingerprint and path, or two empty texts."""
    key = reader.section("sshKey")
    return key.text("fingerprint"), key.existing("path")
