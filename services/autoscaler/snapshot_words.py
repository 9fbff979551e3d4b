"""`clusterodm asr snapshot`: makes, lists and deletes snapshots with the node's image, without a cluster."""

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from clusterodm.libs.common.errors import ProviderFailed, Refused
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.adapters import check_file
from clusterodm.services.autoscaler.config.core.configuration import CLOUDS, Configuration
from clusterodm.services.autoscaler.config.core.retired import IMAGES
from clusterodm.services.autoscaler.orders import Launch, Offer, Order
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from clusterodm.services.autoscaler.providers.adapters.selection import booted, vendor_of
from clusterodm.services.autoscaler.providers.adapters.snapshot_probe import HttpSnapshotProbe
from clusterodm.services.autoscaler.providers.core.snapshots import BUILDERS, OURS, USUAL_NAME
from clusterodm.services.autoscaler.providers.handlers.snapshots import Snapshots
from clusterodm.services.autoscaler.providers.ports import SnapshotVendor

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
KEEP_COUNT: Final = 2
NAME_BYTES: Final = 6
KEY_BYTES: Final = 16


def main(argv: Sequence[str]) -> int:
    """Carry out the word; the exit code."""
    try:
        asked = parser().parse_args(argv)
        asyncio.run(carried_out(asked))
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Refused as error:
        print(error.message, file=sys.stderr)  # noqa: T201 the program's output
        return EXIT_USAGE
    except ProviderFailed as error:
        print(error.message, file=sys.stderr)  # noqa: T201 the program's output
        return EXIT_FAILED
    return 0


def parser() -> argparse.ArgumentParser:
    """Make the command line."""
    found = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="clusterodm asr snapshot",
        description="Make a snapshot with Docker and the node's image in it, from which machines start faster; list and delete them.",
        epilog="Exit codes: 0 done, 1 the cloud failed (nothing is left of it, or it is named), 2 mistakes or wrong usage.",
    )
    found.add_argument("file", help="JSON file, as for --asr: digitalocean or hetzner")
    found.add_argument("--name", default=USUAL_NAME, help=f"begins with {OURS} (default: {USUAL_NAME})")
    found.add_argument("--base", default="", help="image to begin with (default: the file's, or the current Ubuntu)")
    found.add_argument(
        "--keep",
        type=int,
        default=KEEP_COUNT,
        metavar="COUNT",
        help=f"newest of the name that stay (default: {KEEP_COUNT})",
    )
    found.add_argument("--provider", default="", help="which of the file's providers, where it has several")
    instead = found.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list them, and what they cost; make none")
    instead.add_argument("--delete", metavar="ID", default="", help="delete one; make none")
    return found


async def carried_out(asked: argparse.Namespace) -> None:
    """Do it. Raises Refused and ProviderFailed."""
    found = check_file(asked.file, os.environ, VendorKinds())
    if not asked.name.startswith(OURS) or asked.name == OURS or asked.keep < 1:
        raise Refused(
            f"--name begins with {OURS!r}, so that no other snapshot is ever deleted, and --keep is at least 1"
        )
    found = part_of(found, asked.provider)
    key = Secret(secrets.token_hex(KEY_BYTES))
    configuration = based_on(found, asked.base)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        vendor = vendor_of(configuration, os.environ, folder)
        if not isinstance(vendor, SnapshotVendor):
            able = ", ".join(name for name in CLOUDS if hasattr(VendorKinds()[name], "snapshots"))
            raise Refused(f"{found.provider} has no snapshots here; {able} have")
        snapshots = Snapshots(
            provider=await stack.enter_async_context(booted(vendor, configuration.timeouts)),
            store=vendor.snapshots(),
            probe=HttpSnapshotProbe(key, found.secrets),
            clock=SystemClock(),
            say=lambda line: print(line, flush=True),  # noqa: T201 the program's output
        )
        if asked.list:
            await snapshots.show()
        elif asked.delete:
            await snapshots.delete(asked.delete)
        else:
            await snapshots.create(order_of(configuration, key), asked.name, asked.keep)


def part_of(found: Configuration, name: str) -> Configuration:
    """Choose the provider. Raises Refused where the file has several and none is named, or has no such one."""
    names = ", ".join(found.parts)
    if name and name not in found.parts:
        raise Refused(f"the file has no provider {name!r}, it has {names}")
    if not name and len(found.parts) > 1:
        raise Refused(f"the file has several providers: say with --provider which ({names})")
    return found.parts[name or next(iter(found.parts))]


def based_on(found: Configuration, base: str) -> Configuration:
    """Say with which image a machine begins; never with a snapshot, lest one is made of the other for ever."""
    usual = IMAGES[found.provider][1] if found.cloud.snapshot else found.cloud.image
    return replace(found, cloud=replace(found.cloud, image=base or usual, snapshot=False))


def order_of(configuration: Configuration, key: Secret) -> Order:
    """Order the machine that becomes a snapshot: the smallest, whose disk every other has at least."""
    limits, node = configuration.limits, configuration.node
    return Order(
        name=MachineId(f"{BUILDERS}{secrets.token_hex(NAME_BYTES)}"),
        offer=Offer(size=limits.sizes[0], region=limits.regions[0]),
        launch=Launch(image=node.image, token=Secret(""), registry=node.registry, snapshot_key=key),
        tags={"clusterodm": "snapshot"},
    )
