"""The keys of the file that are libcloud's own: which driver, and its arguments. Pure; which drivers are installed is handed in."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.reader import ObjectReader, shown
from clusterodm.services.autoscaler.providers.core.libcloud_drivers import DRIVERS, NO_BOOT, shortcomings, why_not
from clusterodm.services.autoscaler.providers.core.self_deletion import SelfDeletion, by_credential

OURS: Final = frozenset(("name", "size", "image"))
"""Arguments of a creation that the order says."""


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
