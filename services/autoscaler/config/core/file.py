"""The `--asr` file: from its text to a `Configuration`, or to one line per mistake.

Known keys, types and defaults of every provider are the original's, so that its files work unchanged; its own examples
hold a trailing comma here and there, which is accepted. What is one provider's own its kind reads (`Outside.kinds`); sizes, limits,
budget and warm pool are read in limits.py.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.untrusted import read_json
from clusterodm.services.autoscaler.config.core import notes
from clusterodm.services.autoscaler.config.core.configuration import (
    API,
    CLOUDS,
    DOCKER_MACHINE,
    MODES,
    CloudSettings,
    Configuration,
    NodeSettings,
    ProviderLimits,
    ScalingLimits,
    StepTimeouts,
)
from clusterodm.services.autoscaler.config.core.limits import (
    MACHINES_LIMIT,
    OwnSizes,
    limits,
    own_limits,
    shared_limits,
)
from clusterodm.services.autoscaler.config.core.reader import ObjectReader, Outside
from clusterodm.services.autoscaler.config.core.wording import (
    mistake_in_bucket,
    mistake_in_image,
    mistake_in_storage,
    mistake_in_text,
)
from clusterodm.services.autoscaler.orders import DockerRegistry, S3Target

TRAILING_COMMA: Final = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
ACLS: Final = (
    *("", "none", "private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read"),
    *("bucket-owner-read", "bucket-owner-full-control", "log-delivery-write"),
)
"""S3's own words; "none", as in the original: the bucket's own."""
DOWNLOADS: Final = ("redirect", "stream")
PREFERENCE, PRICE = "preference", "price"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
INHERITED: Final = (
    *("s3", "keepResults", "downloads", "dockerImage", "dockerGpu", "dockerRegistry", "dockerDataDirMountPath"),
    *("dataDirMountPath", "addSwap", "nodeSetupCmd", "leaseTime"),
    *("createTimeout", "setupTimeout", "onlineTimeout", "destroyTimeout"),
)
"""Keys that may stand beside `providers` and then count for each that has none of its own."""
NO_PLACE: Final = (
    "is missing: results would go with their machine (give a bucket, or say with keepResults "
    "for how many seconds after its last task a machine shall stay so that they can be fetched)"
)


def parse(text: str, outside: Outside) -> Configuration:
    """Make a configuration of a file's text. Raises Refused with one line per mistake."""
    try:
        content = read_json(TRAILING_COMMA.sub(lambda found: found[1] or "", text))
    except ValueError as error:
        raise Refused(f"not valid JSON: {error}") from None
    return read(content, outside)


def read(content: object, outside: Outside) -> Configuration:
    """Make a configuration of decoded JSON. Raises Refused with one line per mistake."""
    if not isinstance(content, Mapping):
        raise Refused("the file must hold a JSON object")
    if "providers" in content:
        return several(content, outside)
    provider = content.get("provider")
    if not provider:
        raise Refused(f"the file names no provider, one of {', '.join(outside.kinds)}")
    if provider not in list(outside.kinds):
        raise Refused(f"unknown provider {provider!r}, expected one of {', '.join(outside.kinds)}")
    reader = ObjectReader(content, outside)
    reader.ignore("provider")
    found = configuration(str(provider), reader)
    if mistakes := reader.finish():
        raise Refused("\n".join(mistakes))
    note(found, reader)
    return replace(found, notes=tuple(reader.notes))


def note(found: Configuration, reader: ObjectReader) -> None:
    """Note what is no mistake of one provider's part, and yet worth a line."""
    for key, sentence in notes.retired(found.provider, found.cloud.image, found.limits):
        reader.note(key, sentence)
    for key, sentence in notes.lasting_bills(
        found.provider, found.mode, found.node.lease_s, frozenset(found.cloud.keys)
    ):
        reader.note(key, sentence)


def several(content: Mapping[str, Any], outside: Outside) -> Configuration:
    """Make a configuration of a file with several providers. Raises Refused with one line per mistake."""
    reader = ObjectReader(content, outside)
    common = {key: content[key] for key in INHERITED if key in content}
    reader.ignore(*INHERITED)
    parts: dict[str, Configuration] = {}
    for place, entry in enumerate(listed(reader)):
        name, part = one_of_several(reader.part({**common, **entry}, f"providers[{place}]"), parts)
        parts[name] = part
    found = Configuration(
        provider=", ".join(parts),
        mode=API,
        limits=shared_limits(reader, combined_limits(reader, parts)),
        downloads=reader.choice("downloads", DOWNLOADS, "redirect"),
        several=parts,
    )
    if mistakes := reader.finish():
        raise Refused("\n".join(dict.fromkeys(mistakes)))
    return replace(found, notes=tuple(reader.notes))


def listed(reader: ObjectReader) -> Sequence[Mapping[str, Any]]:
    """Read the list of providers as it stands."""
    found = reader.objects("providers")
    if not found:
        reader.wrong("providers", "must be a list of objects, one for each provider")
    return found


def one_of_several(reader: ObjectReader, before: Mapping[str, Configuration]) -> tuple[str, Configuration]:
    """Read one provider's part: its name, and what it means."""
    kind = reader.text("provider", required=True)
    name = reader.text("name", kind)
    if kind and kind not in list(reader.outside.kinds):
        reader.wrong("provider", f"is {kind!r}, expected one of {', '.join(reader.outside.kinds)}")
        kind = ""
    if not kind:
        reader.leave()
        return name, Configuration(provider="", mode=API, limits=ScalingLimits(sizes=()))
    if not NAME.fullmatch(name):
        reader.wrong("name", f"is {name!r}, expected up to 32 small letters, digits and '-'")
    if name in before:
        reader.wrong("name", f"{name!r} is another provider's already: give each a name of its own")
    found = configuration(kind, reader, own_limits)
    note(found, reader)
    own_sizes = tuple(replace(size, provider=name) for size in found.limits.sizes)
    return name, replace(found, limits=replace(found.limits, sizes=own_sizes))


def combined_limits(reader: ObjectReader, parts: Mapping[str, Configuration]) -> ScalingLimits:
    """Put together what the providers have."""
    sizes = [size for part in parts.values() for size in part.limits.sizes]
    by_price = reader.choice("order", (PREFERENCE, PRICE), PREFERENCE) == PRICE
    if by_price and (unpriced := [size.slug for size in sizes if size.price_per_hour is None]):
        reader.wrong("order", f"by price needs pricePerHour in every entry (none for {', '.join(unpriced)})")
    return ScalingLimits(
        sizes=tuple(sorted(sizes, key=lambda size: size.max_images)),
        machines_count=reader.limit(MACHINES_LIMIT, least=0),
        providers=tuple(
            ProviderLimits(
                name=name,
                regions=part.limits.regions,
                machines_count=part.limits.machines_count,
                keep_results_s=part.limits.keep_results_s,
            )
            for name, part in parts.items()
        ),
        by_price=by_price,
    )


def configuration(
    provider: str,
    reader: ObjectReader,
    read_limits: Callable[[str, ObjectReader, OwnSizes], ScalingLimits] = limits,
) -> Configuration:
    """Read all of it; mistakes stay with the reader."""
    kind = reader.outside.kinds[provider]
    own = kind.read(reader)
    cloud = own if isinstance(own, CloudSettings) else CloudSettings()
    return Configuration(
        provider=provider,
        mode=reader.choice("mode", MODES, DOCKER_MACHINE) if provider in CLOUDS else API,
        limits=read_limits(provider, reader, own_sizes(provider, kind, own)),
        cloud=cloud,
        own=own,
        node=node(provider, reader, cloud, mistake_in_image_of(kind, own)),
        timeouts=timeouts(reader),
        downloads=reader.choice("downloads", DOWNLOADS, "redirect"),
    )


def own_sizes(provider: str, kind: object, own: object) -> OwnSizes:
    """Ask a provider's settings what they say of its sizes (`has_spot`, `spot_slugs`, `gpu_slugs`); or its kind."""
    slugs = getattr(own, "spot_slugs", None)
    has = slugs is not None or getattr(own, "has_spot", getattr(kind, "has_spot", False))
    lacks = "" if has else f"{provider} has no spot machines: leave it out"
    return OwnSizes(lacks, slugs, getattr(own, "gpu_slugs", frozenset()))


def timeouts(reader: ObjectReader) -> StepTimeouts:
    """Read how long the steps may take."""
    usual = StepTimeouts()
    return StepTimeouts(
        create_s=reader.count("createTimeout", usual.create_s, least=1),
        set_up_s=reader.count("setupTimeout", usual.set_up_s, least=1),
        online_s=reader.count("onlineTimeout", usual.online_s, least=1),
        destroy_s=reader.count("destroyTimeout", usual.destroy_s, least=1),
    )


def node(
    provider: str, reader: ObjectReader, cloud: CloudSettings, mistake_in_own_image: Callable[[str], str]
) -> NodeSettings:
    """Read what runs on each machine."""
    mount = reader.text("dockerDataDirMountPath") or reader.text("dataDirMountPath")
    return NodeSettings(
        image=reader.named("dockerImage", mistake_in_own_image, "opendronemap/nodeodm"),
        swap_ratio=reader.ratio("addSwap", 1.0),
        data_mount=mount,
        setup_command=reader.text("nodeSetupCmd", lines=True),
        registry=registry(reader.section("dockerRegistry")),
        s3=storage(provider, reader, cloud),
        lease_s=reader.limit("leaseTime", least=0) or 0,
    )


def mistake_in_image_of(kind: object, own: object) -> Callable[[str], str]:
    """Choose how the node's image is looked at: a provider's settings, or its kind, may say that it takes more than Docker's (`any_image`)."""
    return mistake_in_text if getattr(own, "any_image", getattr(kind, "any_image", False)) else mistake_in_image


def registry(reader: ObjectReader) -> DockerRegistry | None:
    """Read where private images come from; None when no URL is given."""
    found = DockerRegistry(url=reader.text("url"), username=reader.text("username"), password=reader.secret("password"))
    if not found.url and (found.username or found.password):
        reader.wrong("url", "is missing")
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
        endpoint=section.named("endpoint", mistake_in_storage, required=True),
        bucket=section.named("bucket", mistake_in_bucket, required=True),
        access_key=access,
        secret_key=secret,
        acl=section.choice("acl", ACLS, "public-read" if provider == "aws" else ""),
        ignore_ssl=section.flag("ignoreSSL"),
    )


def s3_keys(provider: str, section: ObjectReader, cloud: CloudSettings) -> tuple[Secret, Secret]:
    """Read the keys of the bucket; on aws they are those of the account unless others are given."""
    own = provider != "aws" or section.has("accessKey") or section.has("secretKey")
    if not own:
        section.ignore("accessKey", "secretKey")
        return cloud.keys["accessKey"], cloud.keys["secretKey"]
    return section.cloud_key("accessKey", required=True), section.cloud_key("secretKey", required=True)
