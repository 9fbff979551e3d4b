"""One provider on trial: made anew as often as a test likes, with or without faults, in front of one stand-in."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from clusterodm.contract.trial import Trial
from clusterodm.libs.common.secret import Secret
from clusterodm.providers import (
    Launch,
    MachineId,
    ObjectReader,
    Offer,
    Order,
    Size,
    StepTimeouts,
    Vendor,
    VendorContext,
    VendorKind,
)
from clusterodm.services.autoscaler.config.core.reader import Outside
from clusterodm.services.autoscaler.orders import S3Target
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider

PREFIX: Final = "clusterodm-c1-"
NAME: Final = MachineId(f"{PREFIX}50-a1b2c3")
OTHER: Final = "clusterodm-c2-50-zzzzzz"
NODE_TOKEN: Final = "node-token-7c9e"  # noqa: S105 made up
S3_SECRET: Final = "s3-secret-4b1d"  # noqa: S105 made up
OWN_SECRET: Final = "webhook-secret-9a"  # noqa: S105 made up
PATIENT_S: Final = 15.0
"""How long an answer may take: a busy computer is no trouble of a provider."""
BRIEF_S: Final = 0.6
"""The same where the answer does not come."""


class Stage:
    """A provider and its trial."""

    def __init__(self, kind: VendorKind, trial: Trial, folder: Path) -> None:
        self.kind = kind
        self.trial = trial
        self.faults = trial.faults
        self._folder = folder

    def __repr__(self) -> str:
        """Show the kind."""
        return f"Stage({self.kind!r})"

    def read(self, keys: Any) -> tuple[Any, list[str]]:
        """Let the kind read its keys: its settings, and its mistakes."""
        outside = Outside({}, lambda path: Path(path).read_text(encoding="utf-8"), lambda _path: True, {})
        reader = ObjectReader(keys, outside)
        reader.ignore("region")
        return self.kind.read(reader), reader.finish()

    def vendor(self, *, straight: bool = False, answer_s: float = PATIENT_S) -> Vendor:
        """Make a vendor; `straight`: one whose calls do not go wrong."""
        settings, mistakes = self.read(self.trial.straight if straight else self.trial.keys)
        if mistakes:
            raise AssertionError("\n".join(mistakes))
        limit_s = math.ceil(answer_s)
        context = VendorContext(
            settings=settings,
            regions=(self.trial.region,),
            timeouts=StepTimeouts(create_s=limit_s, destroy_s=limit_s),
            folder=self._folder,
            environment=self.trial.environment,
            answer_s=answer_s,
        )
        return self.kind.make(context)

    def provider(self, *, straight: bool = False, answer_s: float = PATIENT_S) -> BootedProvider:
        """Make a provider, as after a restart."""
        return BootedProvider(
            self.vendor(straight=straight, answer_s=answer_s),
            poll_s=0.02,
            set_up_wait_s=10.0,
            removal_wait_s=10.0,
            recheck_s=0.02,
            listens=at_once,
        )

    @property
    def order(self) -> Order:
        """A machine to be created."""
        return self.order_of(NAME)

    def order_of(self, name: str) -> Order:
        """Order a machine of this name."""
        s3 = S3Target(
            endpoint="s3.example.org", bucket="odm", access_key=Secret("s3-key-4b1d"), secret_key=Secret(S3_SECRET)
        )
        launch = Launch(
            image="opendronemap/nodeodm",
            token=Secret(NODE_TOKEN),
            webhook_url=Secret(f"http://cluster:3000/commit?token={OWN_SECRET}"),
            lease_url=Secret(f"http://cluster:3000/machine/lease?token={OWN_SECRET}"),
            lease_s=900,
            max_images=50,
            swap_ratio=1.0,
            s3=s3,
        )
        size = Size(
            slug=self.trial.slug,
            max_images=50,
            memory_bytes=self.trial.memory_bytes,
            spot_price=0.1,
            storage_gb=100,
        )
        tags = {"clusterodm-cluster": "c1"}
        return Order(name=MachineId(name), offer=Offer(size=size, region=self.trial.region), launch=launch, tags=tags)

    async def present(self) -> list[str]:
        """Give the names of all that exists, several times where there are several."""
        if self.trial.present:
            return list(await awaited(self.trial.present))
        async with self.provider(straight=True) as looking:
            return [str(each.name) for each in await looking.list("")]

    async def rent(self, *names: str) -> None:
        """Rent machines to somebody else."""
        if self.trial.rent:
            for name in names:
                await awaited(partial(self.trial.rent, name))
            return
        async with self.vendor(straight=True) as renting:
            for name in names:
                await renting.begin(self.order_of(name))

    def no_secret_in(self, text: str) -> None:
        """Look for secrets in what is shown to people."""
        for secret in (NODE_TOKEN, S3_SECRET, OWN_SECRET, *self.trial.secrets):
            assert secret not in text  # noqa: S101 what the suite is for


async def awaited(call: Callable[[], Any]) -> Any:
    """Call what may be asynchronous."""
    found = call()
    return await found if inspect.isawaitable(found) else found


async def at_once(_address: str, _port: int) -> bool:
    """Take every node for one that answers: none is started for a trial."""
    return True
