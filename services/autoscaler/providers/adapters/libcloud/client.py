"""A provider over any driver of apache-libcloud that can boot a machine by user data.

What differs from driver to driver is in core/libcloud_settings.py. Here is what is the same: sizes, images and regions are found by
id or by name, machines by listing, and what a driver does not tell (size, time) is left out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Self
from urllib.parse import urlsplit

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.orders import Order, ProviderMachine, masked
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import moment_ms as text_ms
from clusterodm.services.autoscaler.providers.adapters.libcloud.calls import LibcloudCalls, known_arguments
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue
from clusterodm.services.autoscaler.providers.core.cloud_init import user_data
from clusterodm.services.autoscaler.providers.core.libcloud_settings import DRIVERS, LibcloudSettings, arguments, read
from clusterodm.services.autoscaler.providers.core.order_words import secrets_of
from clusterodm.services.autoscaler.providers.ports import Vendor, VendorContext

NEEDS: Final = "provider 'libcloud' needs more: pip install 'clusterodm[libcloud]'"
GONE: Final = ("terminated", "error-deleted")
RUNNING: Final = "running"


class LibcloudVendor(Vendor):
    """An account."""

    def __init__(
        self,
        settings: LibcloudSettings,
        regions: tuple[str, ...],
        answer_s: float,
        calls: LibcloudCalls | None = None,
    ) -> None:
        self._settings = settings
        self._abilities = DRIVERS[settings.driver]
        self._regions = regions
        self._answer_s = answer_s
        self._sizes: dict[str, str] = {}
        self._calls = calls or LibcloudCalls(self._driver, settings.driver, settings.secrets, answer_s)

    @staticmethod
    def read(keys: ObjectReader) -> LibcloudSettings:
        """Read which driver, its arguments and those of a creation; what the driver cannot do is told here."""
        return read(keys, installed, known_arguments)

    @classmethod
    def make(cls, context: VendorContext) -> Self:
        """See ports.VendorKind."""
        return cls(context.settings, context.regions, context.answer_s)

    async def check(self) -> None:
        """See ports.Vendor: the machines are listed, and image and regions are looked for."""
        await self._nodes()
        await self._image()
        for region in self._regions:
            await self._location(region)

    async def catalogue(self) -> Catalogue:
        """See ports.CatalogueVendor: the sizes, by id and by name; image and regions are looked for by `check`."""
        known = await self._list("list_sizes")
        return Catalogue(sizes={str(name): None for size in known for name in (size.id, size.name)})

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        named = [each for each in await self._machines() if each.name == name]
        if not ref or ref in {each.ref for each in named}:
            return named
        return [*named, *(self._found(each) for each in await self._looked_up(ref))]

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        return [each for each in await self._machines() if each.name.startswith(prefix)]

    async def begin(self, order: Order) -> ProviderMachine:
        size = chosen(await self._list("list_sizes"), order.offer.size.slug, "size")
        self._sizes[str(size.id)] = str(size.name)
        given = {"size": size, **await self._image(), **await self._location(order.offer.region), **self._own(order)}
        try:
            node = await self._calls.call(lambda driver: created(driver, order.name, given), creates=True)
        except ProviderFailed as error:
            raise ProviderFailed(masked(error.message, secrets_of(order.launch)), error.trouble) from None
        return self._found(node)

    async def remove(self, found: ProviderMachine) -> None:
        """See ports.Vendor; a driver takes what it has listed."""
        nodes = [each for each in await self._nodes() if str(each.id) == found.ref]
        for node in nodes or await self._looked_up(found.ref):
            await self._calls.call(partial(destroyed, node), missing=False)

    def described(self, order: Order) -> str:
        told = {name: value for name, value in self._own(order).items() if name not in self._abilities.user_data}
        size = f"{len(self._boot_text(order).encode())} bytes of cloud-init"
        text = json.dumps({"size": order.offer.size.slug, "image": self._settings.image, **told}, default=str)
        line = f"libcloud {self._settings.driver}: create_node {order.name} {text} <{size}>"
        return masked(line, (*secrets_of(order.launch), *self._settings.secrets))

    def _boot_text(self, order: Order) -> str:
        return user_data(order.launch, deletion=self._settings.deletion)

    def _own(self, order: Order) -> dict[str, Any]:
        """Give what only this driver takes."""
        spot = {self._abilities.spot: True} if order.offer.size.spot and self._abilities.spot else {}
        own = arguments(self._settings.driver, self._boot_text(order), self._settings.tags, order.tags)
        return {**self._settings.create_options, **own, **spot}

    async def _looked_up(self, ref: str) -> list[Any]:
        """Look one up by its id, where the driver can: a list may be behind."""
        lookup = self._abilities.lookup
        if not lookup:
            return []
        node = await self._calls.call(lambda driver: getattr(driver, lookup)(ref), missing=None)
        return [] if node is None or state_of(node) in GONE else [node]

    async def _nodes(self) -> list[Any]:
        nodes = await self._list("list_nodes")
        return [each for each in nodes if state_of(each) not in GONE]

    async def _machines(self) -> list[ProviderMachine]:
        nodes = await self._nodes()
        if self._abilities.named_sizes and any(size_id(each) not in self._sizes for each in nodes):
            self._sizes |= {str(each.id): str(each.name) for each in await self._list("list_sizes")}
        return [self._found(each) for each in sorted(nodes, key=moment_ms)]

    async def _image(self) -> dict[str, Any]:
        if not self._settings.image:
            return {}
        return {"image": chosen(await self._list("list_images"), self._settings.image, "image")}

    async def _location(self, region: str) -> dict[str, Any]:
        if not region or not self._abilities.location:
            return {}
        return {self._abilities.location: chosen(await self._list("list_locations"), region, "region")}

    async def _list(self, what: str) -> list[Any]:
        found = await self._calls.call(lambda driver: getattr(driver, what)())
        if not isinstance(found, list):
            raise ProviderFailed(f"{self._settings.driver}: {what} gave no list")
        return found

    def _found(self, node: Any) -> ProviderMachine:
        number = size_id(node)
        size = self._sizes.get(number, "") if self._abilities.named_sizes else number
        addresses = [each for each in (*node.public_ips, *node.private_ips) if each and ":" not in each]
        return ProviderMachine(
            name=MachineId(str(node.name)),
            ref=str(node.id),
            address=next((each for each in addresses if each != "0.0.0.0"), ""),  # noqa: S104 not known yet
            running=state_of(node) == RUNNING,
            size=size,
            created_at_ms=moment_ms(node),
        )

    def _driver(self) -> Any:
        from libcloud.compute.providers import get_driver

        settings = self._settings
        keys = {name: secret.reveal() for name, secret in settings.keys.items()}
        chosen_class = dict(each.split("=") for each in [self._abilities.variant] if each)
        driver = get_driver(settings.driver)(**{**chosen_class, **settings.options, **keys, **self._place()})
        driver.connection.timeout = self._answer_s
        return driver

    def _place(self) -> dict[str, Any]:
        """Say another address of the API as the driver takes it."""
        if not self._settings.endpoint:
            return {}
        if self._abilities.endpoint != "host":
            return {self._abilities.endpoint: self._settings.endpoint}
        parts = urlsplit(self._settings.endpoint)
        return {"host": parts.hostname, "port": parts.port, "secure": parts.scheme == "https"}


def created(driver: Any, name: str, given: Mapping[str, Any]) -> Any:
    """Create a machine."""
    return driver.create_node(name=name, **given)


def destroyed(node: Any, driver: Any) -> Any:
    """Destroy a machine."""
    return driver.destroy_node(node)


def installed() -> frozenset[str]:
    """Give the drivers of the installed libcloud. Raises Refused where there is none."""
    try:
        from libcloud.compute.providers import DRIVERS as KNOWN
    except ImportError:
        raise Refused(NEEDS) from None
    return frozenset(map(str, KNOWN))


def chosen(things: Iterable[Any], wanted: str, what: str) -> Any:
    """Find a size, image or region by its id, else by its name. Raises ProviderFailed: the file is wrong."""
    known = list(things)
    found = [each for each in known if str(each.id) == wanted] or [each for each in known if each.name == wanted]
    if not found:
        raise ProviderFailed(f"there is no {what} {wanted!r} (neither id nor name)", Trouble.REFUSED)
    return found[0]


def state_of(node: Any) -> str:
    """Say in which state a machine is: libcloud's word."""
    return str(node.state or "unknown")


def size_id(node: Any) -> str:
    """Give the id of a machine's size, wherever its driver keeps it; empty: it does not say."""
    extra = node.extra or {}
    size = getattr(node, "size", None)
    return str(getattr(size, "id", size) or extra.get("flavorId") or extra.get("plan") or "")


def moment_ms(node: Any) -> int:
    """Say since when a machine exists; 0: it is not told."""
    found: Any = getattr(node, "created_at", None)
    return round(found.timestamp() * 1000) if isinstance(found, datetime) else text_ms(found)
