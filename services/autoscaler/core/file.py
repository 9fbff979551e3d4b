"""The `--asr` file: from its text to a `Configuration`, or to one line per mistake.

Known keys, types and defaults of every provider are the original's, so that its files work unchanged; its own examples
hold a trailing comma here and there, which is accepted. Adding a provider is a function in `CLOUD` and its name in
`configuration.PROVIDERS`.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from libs.common.errors import Refused
from services.autoscaler.core.configuration import (
    API,
    CLOUDS,
    DOCKER_MACHINE,
    MODES,
    PROVIDERS,
    Cloud,
    Configuration,
    Limits,
    Node,
    Patience,
    Warmth,
)
from services.autoscaler.core.offers import GIGABYTE, Size
from services.autoscaler.core.orders import Registry, S3Target
from services.autoscaler.core.reader import Outside, Reader
from services.autoscaler.core.secrets import Secret

LIMIT_KEYS: Final = {"digitalocean": "dropletsLimit", "aws": "instanceLimit"}
MACHINES_LIMIT: Final = "machinesLimit"
DEFAULT_SIZES: Final[Mapping[str, tuple[Size, ...]]] = {
    "digitalocean": (Size(slug="s-1vcpu-1gb", max_images=5), Size(slug="s-4vcpu-8gb", max_images=50)),
    "aws": (
        Size(slug="t2.micro", max_images=5, spot_price=0.1, storage_gb=10),
        Size(slug="t2.medium", max_images=50, spot_price=0.1, storage_gb=100),
    ),
    "hetzner": (Size(slug="cx11", max_images=5), Size(slug="cx21", max_images=50)),
    "scaleway": (Size(slug="GP1-XS", max_images=5), Size(slug="GP1-S", max_images=50)),
}
DEFAULT_REGIONS: Final = {"digitalocean": "nyc3", "aws": "us-west-2", "hetzner": "fsn1", "scaleway": "par1"}
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TIME_OF_DAY: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")
TRAILING_COMMA: Final = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
MINUTES_PER_HOUR: Final = 60
MINUTES_PER_DAY: Final = 24 * 60


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
    reader = Reader(content, outside)
    reader.ignore("provider")
    found = configuration(str(provider), reader)
    if mistakes := reader.finish():
        raise Refused("\n".join(mistakes))
    return found


def configuration(provider: str, reader: Reader) -> Configuration:
    """Read all of it; mistakes stay with the reader."""
    cloud = CLOUD[provider](reader)
    return Configuration(
        provider=provider,
        mode=reader.choice("mode", MODES, DOCKER_MACHINE) if provider in CLOUDS else API,
        limits=limits(provider, reader),
        cloud=cloud,
        node=node(provider, reader, cloud),
        patience=patience(reader),
        downloads=reader.choice("downloads", ("redirect", "stream"), "redirect"),
    )


# --- one provider each ---------------------------------------------------------------------------------------------


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


# --- what all have -------------------------------------------------------------------------------------------------


def limits(provider: str, reader: Reader) -> Limits:
    """Read what the decisions depend on."""
    region_key = "location" if provider == "hetzner" else "region"
    default = DEFAULT_REGIONS.get(provider, "")
    found = Limits(
        sizes=sizes(provider, reader),
        regions=reader.texts(region_key, (default,)),
        machines_count=reader.limit(LIMIT_KEYS.get(provider, MACHINES_LIMIT), least=0),
        min_images=reader.limit("minImages", least=0) or 0,
        create_retries=reader.count("createRetries", 1, least=1),
        max_runtime_s=reader.limit("maxRuntime"),
        max_upload_s=reader.limit("maxUploadTime"),
        idle_timeout_s=reader.limit("idleTimeout", least=0) or 0,
        tasks_per_machine_count=reader.count("maxTasksPerMachine", 1),
        max_hourly_cost=reader.amount("maxHourlyCost"),
        max_daily_cost=reader.amount("maxDailyCost"),
        warm=tuple(warmth(entry) for entry in reader.entries("warm") or ()),
    )
    check_budget(found, reader)
    check_warmth(found, reader)
    return found


def check_budget(found: Limits, reader: Reader) -> None:
    """Refuse a budget over sizes without a price: it would count nothing."""
    unpriced = [size.slug for size in found.sizes if size.price_per_hour is None]
    if unpriced and (found.max_hourly_cost is not None or found.max_daily_cost is not None):
        reader.wrong("imageSizeMapping", f"a budget needs pricePerHour in every entry (none for {', '.join(unpriced)})")


def check_warmth(found: Limits, reader: Reader) -> None:
    """Refuse warm machines for which there is no size."""
    largest = max((size.max_images for size in found.sizes), default=0)
    for place, warm in enumerate(found.warm):
        if warm.max_images > largest:
            reader.wrong(f"warm[{place}].maxImages", f"is {warm.max_images}, the largest size takes {largest}")


def sizes(provider: str, reader: Reader) -> tuple[Size, ...]:
    """Read `imageSizeMapping`; the smallest first, whatever the order in the file."""
    entries = reader.entries("imageSizeMapping")
    if entries is None:
        if provider not in DEFAULT_SIZES:
            reader.wrong("imageSizeMapping", "is missing")
        return DEFAULT_SIZES.get(provider, ())
    if not entries and not reader.mistakes:
        reader.wrong("imageSizeMapping", "must have at least one entry")
    spot = provider == "aws"
    found = [size(entry, priced=spot and reader.flag("spot"), stored=spot) for entry in entries]
    return tuple(sorted(found, key=lambda each: each.max_images))


def size(entry: Reader, *, priced: bool, stored: bool) -> Size:
    """Read one entry of `imageSizeMapping`."""
    entry.ignore("spotPrice", "storage")
    gigabytes, memory = entry.amount("maxGigabytes"), entry.amount("memoryGigabytes")
    found = Size(
        slug=entry.text("slug", required=True),
        max_images=entry.count("maxImages", 0, least=1) if entry.has("maxImages") else missing_count(entry),
        max_bytes=int(gigabytes * GIGABYTE) if gigabytes is not None else None,
        memory_bytes=int(memory * GIGABYTE) if memory is not None else None,
        price_per_hour=entry.amount("pricePerHour"),
        spot_price=entry.amount("spotPrice"),
        storage_gb=entry.limit("storage"),
    )
    if priced and found.spot_price is None:
        entry.wrong("spotPrice", "is missing (spot is true)")
    if stored and found.storage_gb is None:
        entry.wrong("storage", "is missing")
    return found


def missing_count(entry: Reader) -> int:
    """Note that a size does not say for how many images it is."""
    entry.ignore("maxImages")
    entry.wrong("maxImages", "is missing")
    return 1


def warmth(entry: Reader) -> Warmth:
    """Read one window of the warm pool."""
    days = entry.texts("days", DAYS)
    for day in days:
        if day not in DAYS:
            entry.wrong("days", f"{day!r} is no day, expected some of {', '.join(DAYS)}")
    return Warmth(
        machines_count=entry.count("machines", 1, least=1),
        max_images=entry.count("maxImages", 1, least=1),
        from_minute=minute(entry, "from", 0),
        to_minute=minute(entry, "to", MINUTES_PER_DAY),
        days=tuple(DAYS.index(day) for day in days if day in DAYS),
    )


def minute(entry: Reader, key: str, default: int) -> int:
    """Read a time of day (UTC) as minutes since midnight."""
    text = entry.text(key)
    if not text:
        return default
    found = TIME_OF_DAY.fullmatch(text)
    minutes = int(found[1]) * MINUTES_PER_HOUR + int(found[2]) if found else MINUTES_PER_DAY + 1
    if minutes > MINUTES_PER_DAY:
        entry.wrong(key, f"is {text!r}, expected a time like 08:30 (UTC)")
        return default
    return minutes


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
    """Read where results go. The clouds need it: their machines go, and the results with them."""
    if provider not in CLOUDS and not reader.has("s3"):
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


def patience(reader: Reader) -> Patience:
    """Read how long the steps may take."""
    usual = Patience()
    return Patience(
        create_s=reader.count("createTimeout", usual.create_s, least=1),
        set_up_s=reader.count("setupTimeout", usual.set_up_s, least=1),
        online_s=reader.count("onlineTimeout", usual.online_s, least=1),
        destroy_s=reader.count("destroyTimeout", usual.destroy_s, least=1),
    )
