"""The keys of the file that are libcloud's own: which driver, its arguments, and what it can do for us. Pure; which drivers are installed is handed in.

A machine is to boot into a node by itself, so a driver without user data is of no use. It has to be found again by its name, so a driver
has to list machines with their names and take the name that it is given. Tags and spot are welcome. What a driver takes was read from
libcloud 3.9 (a test holds this table to the installed version); whoever has a cloud of another driver can name its arguments with
`createOptions`, but not its user data.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.reader import ObjectReader, shown
from clusterodm.services.autoscaler.providers.core.order_words import flat_tags, labels, pairs
from clusterodm.services.autoscaler.providers.core.self_deletion import SelfDeletion, by_credential

OURS: Final = frozenset(("name", "size", "image"))
"""Arguments of a creation that the order says."""

WORDS: Final = "words"
PAIRS: Final = "pairs"
LABELS: Final = "labels"
ONE_WORD: Final = "one word"
NO_BOOT: Final = frozenset({"dummy"})
"""Boots nothing and so needs no user data."""


@dataclass(frozen=True, kw_only=True)
class LibcloudSettings:
    """Its own keys of the file."""

    driver: str
    keys: Mapping[str, Secret]
    """Arguments of the driver that are secret."""
    options: Mapping[str, Any]
    """Other arguments of the driver."""
    create_options: Mapping[str, Any]
    image: str
    tags: tuple[str, ...]
    endpoint: str
    lease_credential: Mapping[str, Secret] = field(default_factory=dict)
    """`id` and `secret` of what can only delete machines; empty: they only turn themselves off."""

    @property
    def has_spot(self) -> bool:
        """Whether the driver can ask for spot machines."""
        return self.driver not in DRIVERS or bool(DRIVERS[self.driver].spot)

    @property
    def deletion(self) -> SelfDeletion | None:
        """How a machine deletes itself."""
        if not self.lease_credential:
            return None
        url = self.endpoint or str(self.options.get("ex_force_auth_url") or "")
        region = str(self.options.get("ex_force_service_region") or "")
        return by_credential(url, region, self.lease_credential["id"], self.lease_credential["secret"])

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All that must never be shown."""
        return (*self.keys.values(), *self.lease_credential.values())


@dataclass(frozen=True)
class KnownArguments:
    """The names that a driver knows; empty: it is not told."""

    making: frozenset[str] = frozenset()
    creating: frozenset[str] = frozenset()


def read(
    keys: ObjectReader, installed: Callable[[], frozenset[str]], known: Callable[[str], KnownArguments]
) -> LibcloudSettings:
    """Read which driver, its arguments and those of a creation; what the driver cannot do is told here. Raises Refused."""
    driver = keys.text("driver", required=True)
    if because := why_not(driver, installed()) if driver else "":
        keys.wrong("driver", because)
    for sentence in shortcomings(driver) if driver in DRIVERS else ():
        keys.note("driver", sentence)
    if keys.flag("spot") and driver in DRIVERS and not DRIVERS[driver].spot:
        keys.wrong("spot", f"the driver {driver!r} cannot ask for spot machines: leave it out")
    if driver in DRIVERS and keys.has("leaseTime") and not keys.has("leaseCredential"):
        keys.note("leaseTime", f"at {driver} a machine that has turned itself off: {DRIVERS[driver].turned_off}")
    secret = keys.section("keys")
    if driver in DRIVERS and not because:
        check_names(keys, driver, known(driver))
    return LibcloudSettings(
        driver=driver,
        keys={name: secret.secret(name) for name in secret.names()},
        options=keys.plain("options"),
        create_options=keys.plain("createOptions"),
        image=keys.text("image", required=driver not in NO_BOOT),
        tags=keys.texts("tags", ("clusterodm",)),
        endpoint=keys.address("endpoint"),
        lease_credential=lease_credential(keys, driver),
    )


def check_names(keys: ObjectReader, driver: str, known: KnownArguments) -> None:
    """Refuse what a creation is given anyway; note names that the driver does not know, since it drops them without a word."""
    for name in sorted(OURS & keys.plain("createOptions").keys()):
        keys.wrong(f"createOptions.{name}", "is given by each order: leave it out")
    for key, names in (("keys", known.making), ("options", known.making), ("createOptions", known.creating)):
        for name in sorted(keys.plain(key).keys() - names - OURS if names else ()):
            near = difflib.get_close_matches(name, sorted(names), n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            keys.note(
                f"{key}.{shown(name)}", f"the driver {driver!r} of the installed libcloud names no such argument{meant}"
            )


def lease_credential(keys: ObjectReader, driver: str) -> dict[str, Secret]:
    """Read the credential that can only delete machines, which they are given."""
    keys.ignore("leaseCredential")
    if not keys.has("leaseCredential"):
        return {}
    if driver != "openstack":
        keys.wrong("leaseCredential", f"the driver {driver!r} has none: only an OpenStack's can be cut to deletions")
    if not keys.has("leaseTime"):
        keys.wrong("leaseCredential", "is of no use without leaseTime")
    section = keys.section("leaseCredential")
    return {name: section.secret(name, required=True) for name in ("id", "secret")}


@dataclass(frozen=True, kw_only=True)
class DriverAbilities:
    """What a driver takes when it creates a machine."""

    variant: str = ""
    """`options` that choose among a driver's classes, as `key=value`."""
    user_data: str = ""
    """The argument; `ex_metadata:user-data`: a key of an object in it. Empty: there is none."""
    tags: str = ""
    """The argument; empty: none."""
    tag_style: str = WORDS
    spot: str = ""
    """The argument that makes it a machine which may be taken away; empty: none."""
    location: str = "location"
    """The argument; empty: a region is the account's own, and chosen by `options`."""
    lookup: str = ""
    """The driver's method that looks one up by its id; empty: it can only list."""
    endpoint: str = "host"
    """How another address of the API is said: `host` (with port and secure), or an argument that takes a URL."""
    named_sizes: bool = False
    """Whether sizes are called by names and not by ids."""
    turned_off: str = "not known here"
    """What a machine costs that has turned itself off."""
    tried: str = ""
    """Against what it was tried here."""
    note: str = ""


DRIVERS: Final[Mapping[str, DriverAbilities]] = {
    "openstack": DriverAbilities(
        user_data="ex_userdata",
        tags="ex_metadata",
        tag_style=PAIRS,
        location="",
        lookup="ex_get_node_details",
        endpoint="ex_force_auth_url",
        named_sizes=True,
        turned_off="costs on (so it is at OVH and Infomaniak)",
        tried="a stand-in of Keystone and Nova",
        note="OVH Public Cloud, Infomaniak, OTC and every other OpenStack",
    ),
    "vultr": DriverAbilities(
        variant="api_version=2",
        user_data="ex_userdata",
        tags="ex_tag",
        tag_style=ONE_WORD,
        lookup="ex_get_node",
        turned_off="costs on",
        tried="a stand-in of its API, version 2",
    ),
    "linode": DriverAbilities(
        variant="api_version=4.0",
        user_data="ex_userdata",
        tags="ex_tags",
        turned_off="costs on",
        note="needs `root_pass` in `createOptions`",
    ),
    "gce": DriverAbilities(
        user_data="ex_metadata:user-data",
        tags="ex_labels",
        tag_style=LABELS,
        spot="ex_preemptible",
        turned_off="its disk costs on",
        note="the image needs cloud-init (Ubuntu's have it)",
    ),
    "azure_arm": DriverAbilities(
        user_data="ex_customdata",
        tags="ex_tags",
        tag_style=PAIRS,
        turned_off="costs on (only what Azure itself deallocates is free)",
        note="needs `ex_resource_group` and `ex_network` in `createOptions`; disks and addresses may outlive a machine",
    ),
    "exoscale": DriverAbilities(
        user_data="ex_userdata",
        lookup="ex_get_node",
        turned_off="its disk costs on",
        note="speaks the CloudStack interface, not Exoscale's newer one",
    ),
    "cloudstack": DriverAbilities(user_data="ex_userdata", lookup="ex_get_node", turned_off="as its operator bills"),
    "brightbox": DriverAbilities(user_data="ex_userdata"),
    "equinixmetal": DriverAbilities(user_data="cloud_init", turned_off="costs on"),
    "outscale": DriverAbilities(user_data="ex_user_data", location="", turned_off="its disk costs on"),
    "dummy": DriverAbilities(location="", turned_off="nothing", tried="itself", note="rents nothing: for tests"),
}
"""By the name that libcloud gives them; another driver cannot hand user data to a machine."""


def why_not(driver: str, known: frozenset[str]) -> str:
    """Say why a driver cannot keep what we promise; empty: it can."""
    if driver not in known:
        return f"apache-libcloud has no driver {driver!r}"
    if driver not in DRIVERS:
        return (
            f"{driver!r} cannot be used: its driver hands no user data to a machine, so no node would ever start on it "
            f"(one of {', '.join(sorted(DRIVERS))}, or the provider 'command')"
        )
    return ""


def shortcomings(driver: str) -> list[str]:
    """Say what works less well than elsewhere, a sentence each."""
    found = DRIVERS[driver]
    said = []
    if not found.tags:
        said.append(f"{driver}: machines have no tags there, they are told apart by their names alone")
    if not found.lookup:
        said.append(f"{driver}: a machine cannot be looked up by its id, so one that a list shows late is seen late")
    return said


def arguments(driver: str, text: str, configured: tuple[str, ...], tags: Mapping[str, str]) -> dict[str, Any]:
    """Give the arguments of a creation that carry user data and tags."""
    abilities = DRIVERS[driver]
    found: dict[str, Any] = {}
    argument, _, key = abilities.user_data.partition(":")
    if key:
        found[argument] = {key: text}
    elif argument:
        found[argument] = text
    if abilities.tags:
        found[abilities.tags] = written(abilities.tag_style, configured, tags)
    return found


def written(style: str, configured: tuple[str, ...], tags: Mapping[str, str]) -> Any:
    """Write tags as a driver takes them."""
    if style == PAIRS:
        return pairs(configured, tags)
    if style == LABELS:
        return {key.lower(): value.lower() for key, value in labels(configured, tags).items()}
    words = flat_tags(configured, tags)
    return words[0] if style == ONE_WORD and words else ("" if style == ONE_WORD else words)
