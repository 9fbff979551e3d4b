"""What is done with an autoscaler's configuration without a cluster: `clusterodm asr check`, `asr plan --asr FILE` and `asr snapshot`.

`check` finds mistakes, with `--online` by asking the provider as well; `plan` shows what the file would do; `snapshot` makes, lists and deletes
snapshots with the node's image.
"""

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from clusterodm.libs.common.errors import ProviderFailed, Refused
from clusterodm.libs.common.exit_codes import EXIT_FAILED, EXIT_USAGE
from clusterodm.libs.common.messages.machines import imagined
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.grammar import Grammar
from clusterodm.services.autoscaler.config.adapters import check_file, demand_text
from clusterodm.services.autoscaler.config.core.configuration import CLOUDS, DOCKER_MACHINE, Configuration, described
from clusterodm.services.autoscaler.config.core.notes import IMAGES
from clusterodm.services.autoscaler.orders import Launch, Offer, Order
from clusterodm.services.autoscaler.planning.core.preview import planned_alone
from clusterodm.services.autoscaler.providers.adapters.booted import POLL_S
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from clusterodm.services.autoscaler.providers.adapters.online_check import OnlineCheck
from clusterodm.services.autoscaler.providers.adapters.selection import api_provider, booted, provider_of, vendor_of
from clusterodm.services.autoscaler.providers.adapters.snapshots import HttpSnapshotProbe
from clusterodm.services.autoscaler.providers.core.snapshots import BUILDERS, OURS, USUAL_NAME
from clusterodm.services.autoscaler.providers.handlers import Snapshots
from clusterodm.services.autoscaler.providers.ports import SnapshotVendor
from clusterodm.services.autoscaler.results.adapters import S3Storage, StorageSilent

ONLINE_LIMIT_S: Final = 60.0
KEEP_COUNT: Final = 2
NAME_BYTES: Final = 6
KEY_BYTES: Final = 16
LONGEST_NUMBER: Final = 9
"""Digits."""


def carried_out(act: Callable[[], None]) -> int:
    """Carry out a word; the exit code, after what is wrong was said."""
    try:
        act()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Refused as error:
        print(error.message, file=sys.stderr)  # noqa: T201 the program's output
        return EXIT_USAGE
    except ProviderFailed as error:
        print(error.message, file=sys.stderr)  # noqa: T201 the program's output
        return EXIT_FAILED
    return 0


def check(argv: Sequence[str]) -> int:
    """Look for mistakes in a configuration, without a cluster: a line for each; the exit code."""
    parser = Grammar(
        prog="clusterodm asr check",
        description="Find the mistakes in an autoscaler's configuration, a line for each, without a cluster.",
        epilog="Exit codes: 0 no mistake, 1 somebody did not answer (--online), 2 mistakes or wrong usage. "
        "Without --online keys and bucket are tried when it starts.",
    )
    parser.add_argument("file", help="JSON file, as for --asr")
    parser.add_argument(
        "--online", action="store_true", help="try the keys, what the file names and the bucket as well"
    )

    def checked() -> None:
        asked = parser.read(argv)
        found = check_file(asked.file, os.environ, VendorKinds())
        if asked.online:
            asyncio.run(try_all_online(found))
        print(described(found))  # noqa: T201 the program's output

    return carried_out(checked)


def show_plan(argv: Sequence[str]) -> int:
    """Show what a configuration would do for tasks of a file, without a cluster; the exit code."""
    parser = Grammar(
        prog="clusterodm asr plan",
        description="Show which machines a configuration would rent for tasks, and why, without a cluster and without renting any.",
        epilog="Exit codes: 0 shown, 2 mistakes or wrong usage. Without --asr a running cluster is asked.",
    )
    parser.add_argument("--asr", required=True, metavar="FILE", help="JSON file, as for the autoscaler")
    parser.add_argument(
        "--demand", metavar="FILE", help="JSON list of objects, as docs/autoscaler.md says; none: no task"
    )

    def shown() -> None:
        given = parser.read(argv)
        found = check_file(given.asr, os.environ, VendorKinds())
        demand = imagined(demand_text(given.demand)) if given.demand else ()
        steps = planned_alone(found.limits, demand, SystemClock().wall_ms())
        print("\n".join(map(str, steps)) or "nothing is to be done")  # noqa: T201 the program's output

    return carried_out(shown)


async def try_all_online(configuration: Configuration) -> None:
    """Try every provider, so that each mistake is told.

    Raises Refused with a line for each mistake and for each that did not answer; ProviderFailed where the latter is all there is.
    """
    mistakes: list[str] = []
    silent: list[str] = []
    for name, part in configuration.parts.items():
        before = f"{name}: " if configuration.several else ""
        for attempt in (try_api, try_program, try_bucket):
            try:
                await attempt(part)
            except (ProviderFailed, StorageSilent) as error:
                silent += [f"{before}{line}" for line in error.message.splitlines()]
            except Refused as error:
                mistakes += [f"{before}{line}" for line in error.message.splitlines()]
    if mistakes:
        raise Refused("\n".join(mistakes + silent))
    if silent:
        raise ProviderFailed("\n".join(silent))


async def try_api(configuration: Configuration) -> None:
    """Try what the start tries at the provider's API, in both modes. Raises Refused, and ProviderFailed where it does not answer."""
    with tempfile.TemporaryDirectory() as folder:
        async with api_provider(configuration, os.environ, Path(folder)) as api:
            outcome = await OnlineCheck(api, configuration, say=lambda _: None).once(ONLINE_LIMIT_S)
            if outcome.findings.mistakes:
                raise Refused("\n".join(outcome.findings.mistakes))
            if not outcome.answered:
                raise ProviderFailed(f"no answer: {outcome.reason}")


async def try_program(configuration: Configuration) -> None:
    """Try docker-machine, in its mode. Raises Refused and ProviderFailed."""
    if configuration.mode == DOCKER_MACHINE:
        with tempfile.TemporaryDirectory() as folder:
            async with provider_of(configuration, Path(folder), cross_check=False, poll_s=POLL_S) as provider:
                await provider.check()


async def try_bucket(configuration: Configuration) -> None:
    """Try to write into the bucket. Raises Refused, and StorageSilent where it does not answer."""
    if configuration.node.s3:
        await S3Storage(configuration.node.s3).check()


def snapshot(argv: Sequence[str]) -> int:
    """Make a snapshot, list or delete them; the exit code."""
    return carried_out(lambda: asyncio.run(on_snapshots(snapshot_parser().read(argv))))


def snapshot_parser() -> Grammar:
    """Make the command line."""
    found = Grammar(
        prog="clusterodm asr snapshot",
        description="Make a snapshot with Docker and the node's image in it, from which machines start faster; list and delete them.",
        epilog="Exit codes: 0 done, 1 the cloud failed (nothing is left of it, or it is named), 2 mistakes or wrong usage.",
    )
    found.add_argument("file", help="JSON file, as for --asr: digitalocean or hetzner")
    found.add_argument("--name", default=USUAL_NAME, help=f"begins with {OURS} (default: {USUAL_NAME})")
    found.add_argument("--base", default="", help="image to begin with (default: the file's, or the current Ubuntu)")
    found.add_argument(
        "--keep",
        type=whole,
        default=KEEP_COUNT,
        metavar="COUNT",
        help=f"newest of the name that stay (default: {KEEP_COUNT})",
    )
    found.add_argument("--provider", default="", help="which of the file's providers, where it has several")
    instead = found.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list them, and what they cost; make none")
    instead.add_argument("--delete", metavar="ID", default="", help="delete one; make none")
    return found


def whole(text: str) -> int:
    """Read a whole number, in plain digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return int(text)


async def on_snapshots(asked: argparse.Namespace) -> None:
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
