"""What the `--asr` file says about how many machines there may be, of which sizes, when and for how much."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.model.nodes import mistake_in_labels
from clusterodm.services.autoscaler.config.core.configuration import OwnerBudget, ScalingLimits, WarmPool
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.orders import GIGABYTE, Size

LIMIT_KEYS: Final = {"digitalocean": "dropletsLimit", "aws": "instanceLimit"}
MACHINES_LIMIT: Final = "machinesLimit"
AWS: Final = "aws"
DEFAULT_SIZES: Final[Mapping[str, tuple[Size, ...]]] = {
    "digitalocean": (Size(slug="s-1vcpu-1gb", max_images=5), Size(slug="s-4vcpu-8gb", max_images=50)),
    "aws": (
        Size(slug="t2.micro", max_images=5, spot_price=0.1, storage_gb=10),
        Size(slug="t2.medium", max_images=50, spot_price=0.1, storage_gb=100),
    ),
    "hetzner": (Size(slug="cx23", max_images=5), Size(slug="cx33", max_images=50)),
    "scaleway": (Size(slug="GP1-XS", max_images=5), Size(slug="GP1-S", max_images=50)),
}
DEFAULT_REGIONS: Final = {"digitalocean": "nyc3", "aws": "us-west-2", "hetzner": "fsn1", "scaleway": "par1"}
BILLING: Final = {"second": 1, "minute": 60, "hour": 3600}
"""What is billed whole once it has begun, in seconds."""
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TIME_OF_DAY: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")
MINUTES_PER_HOUR: Final = 60
MINUTES_PER_DAY: Final = 24 * 60


@dataclass(frozen=True)
class OwnSizes:
    """What a provider's own settings say of its sizes."""

    lacks_spot: str = ""
    """Why it rents no spot machines; empty: it does."""
    spot_slugs: frozenset[str] | None = None
    """Those that are spot machines; None: `spot` in the file says so."""
    gpu_slugs: frozenset[str] = frozenset()
    """Those that have a graphics card; others may, if the file says so."""


def limits(provider: str, reader: ObjectReader, own: OwnSizes) -> ScalingLimits:
    """Read what the decisions depend on, where the file has one provider."""
    return shared_limits(reader, own_limits(provider, reader, own))


def own_limits(provider: str, reader: ObjectReader, own: OwnSizes) -> ScalingLimits:
    """Read what is a provider's own."""
    region_key = "location" if provider == "hetzner" else "region"
    return ScalingLimits(
        sizes=sizes(provider, reader, own),
        regions=tuple(dict.fromkeys(reader.texts(region_key, (DEFAULT_REGIONS.get(provider, ""),), some=True))),
        machines_count=reader.limit(LIMIT_KEYS.get(provider, MACHINES_LIMIT), least=0),
        keep_results_s=reader.limit("keepResults", least=0) or 0,
    )


def shared_limits(reader: ObjectReader, own: ScalingLimits) -> ScalingLimits:
    """Read what counts for all machines."""
    target_wait_s = reader.limit("targetWait", least=0) or 0
    most = 0 if is_used_again(own.sizes, target_wait_s) else 1
    found = replace(
        own,
        sizes=with_fallback(own.sizes, interruptions_limit(own.sizes, reader), reader),
        budgets=budgets(reader),
        kept_machines_count=reader.limit("keptMachinesLimit", least=0) if said(reader, "keptMachinesLimit") else 0,
        min_images=reader.limit("minImages", least=0) or 0,
        create_retries=reader.count("createRetries", 1, least=1),
        max_runtime_s=reader.limit("maxRuntime"),
        max_upload_s=reader.limit("maxUploadTime"),
        idle_timeout_s=reader.limit("idleTimeout", least=0) or 0,
        tasks_per_machine_count=reader.count("maxTasksPerMachine", most),
        target_wait_s=target_wait_s,
        create_rate_count=reader.limit("createRate"),
        max_hourly_cost=reader.amount("maxHourlyCost"),
        max_daily_cost=reader.amount("maxDailyCost"),
        warm=tuple(warm_pool(entry) for entry in reader.entries("warm") or ()),
        labels=labels(reader),
    )
    check_budget(found, reader)
    check_need(found, reader)
    check_warm_pool(found, reader)
    check_use(found, reader)
    keeps_s = [found.keep_results_s, *(each.keep_results_s for each in found.providers)]
    if found.kept_machines_count != 0 and not any(keeps_s):
        reader.wrong("keptMachinesLimit", "no machine stays for its results (keepResults is not given)")
    return found


def labels(reader: ObjectReader) -> tuple[str, ...]:
    """Read what the nodes of machines are called."""
    found = tuple(dict.fromkeys(reader.texts("labels")))
    if mistake := mistake_in_labels(found):
        reader.wrong("labels", mistake)
    return found


def said(reader: ObjectReader, key: str) -> bool:
    """Whether a key says anything; it is known in any case."""
    reader.ignore(key)
    return reader.has(key)


def is_used_again(found: Sequence[Size], target_wait_s: int) -> bool:
    """Whether the file says something that has no sense for machines that go after one task: then they do not, unless it says so."""
    return bool(target_wait_s) or any(size.tasks_at_once_count > 1 or size.billed_unit_s > 1 for size in found)


def check_need(found: ScalingLimits, reader: ObjectReader) -> None:
    """Refuse, or note, what would keep every machine from being rented."""
    largest = max((size.max_images for size in found.sizes), default=0)
    if found.sizes and found.min_images > largest:
        reader.wrong("minImages", f"is {found.min_images}, the largest size takes {largest}")
    prices = [size.price_per_hour for size in found.sizes if size.price_per_hour is not None]
    for key, most in (("maxHourlyCost", found.max_hourly_cost), ("maxDailyCost", found.max_daily_cost)):
        if most is not None and prices and most < min(prices):
            reader.note(key, f"is {most:g}, and no machine costs so little for an hour: none is rented")
    most_warm = max((warm.machines_count for warm in found.warm), default=0)
    if found.machines_count is not None and most_warm > found.machines_count:
        reader.note(
            "warm", f"has {amount(most_warm, 'machine')} at a time, there may be no more than {found.machines_count}"
        )


def check_use(found: ScalingLimits, reader: ObjectReader) -> None:
    """Refuse machines that would go before they have had what the file wants of them."""
    most = found.tasks_per_machine_count
    if most == 1 and found.target_wait_s:
        reader.wrong("targetWait", "no machine gets free for a second task (maxTasksPerMachine is 1)")
    crowded = [size for size in found.sizes if most and size.tasks_at_once_count > most]
    for size in crowded:
        reader.wrong(
            "imageSizeMapping",
            f"{size.slug} has {size.tasks_at_once_count} tasksPerMachine, and goes after {most} (maxTasksPerMachine)",
        )


def check_budget(found: ScalingLimits, reader: ObjectReader) -> None:
    """Refuse a budget over sizes without a price: it would count nothing."""
    unpriced = [size.slug for size in found.sizes if size.price_per_hour is None]
    if unpriced and (found.max_hourly_cost is not None or found.max_daily_cost is not None or found.budgets):
        reader.wrong("imageSizeMapping", f"a budget needs pricePerHour in every entry (none for {', '.join(unpriced)})")


def budgets(reader: ObjectReader) -> Mapping[str, OwnerBudget]:
    """Read what may be spent for the tasks of each owner."""
    section = reader.section("budgets")
    return {owner: budget(section.section(owner), owner, section) for owner in section.names()}


def budget(entry: ObjectReader, owner: str, section: ObjectReader) -> OwnerBudget:
    """Read one; an owner without any limit is a mistake."""
    if not owner:
        section.wrong(owner, "an owner without a name has no budget")
    found = OwnerBudget(max_hourly_cost=entry.amount("maxHourlyCost"), max_daily_cost=entry.amount("maxDailyCost"))
    if found == OwnerBudget() and not entry.mistakes:
        section.wrong(owner, "limits nothing: give maxHourlyCost or maxDailyCost")
    return found


def interruptions_limit(found: Sequence[Size], reader: ObjectReader) -> int:
    """Read after how many interruptions a task gets a machine that stays."""
    given = said(reader, "spotInterruptions")
    most = reader.count("spotInterruptions", 1, least=1)
    if given and not any(size.spot for size in found):
        reader.wrong("spotInterruptions", "no size is rented as a spot machine")
    return most


def with_fallback(found: Sequence[Size], most: int, reader: ObjectReader) -> tuple[Size, ...]:
    """Note in each spot size how often a task may be interrupted there, if there is a size that takes its place."""
    lasting = [size for size in found if not size.spot]
    alone = [size.slug for size in found if size.spot and not any(each.stands_in_for(size) for each in lasting)]
    if alone and lasting:
        reader.note(
            "imageSizeMapping",
            f"no size without spot takes what {' and '.join(dict.fromkeys(alone))} takes: tasks that are interrupted there begin again there",
        )
    return tuple(
        replace(size, interruptions_limit_count=most)
        if size.spot and any(each.stands_in_for(size) for each in lasting)
        else size
        for size in found
    )


def check_warm_pool(found: ScalingLimits, reader: ObjectReader) -> None:
    """Refuse warm machines for which there is no size."""
    largest = max((size.max_images for size in found.sizes), default=0)
    for place, warm in enumerate(found.warm):
        if warm.max_images > largest:
            reader.wrong(f"warm[{place}].maxImages", f"is {warm.max_images}, the largest size takes {largest}")


def sizes(provider: str, reader: ObjectReader, own: OwnSizes) -> tuple[Size, ...]:
    """Read `imageSizeMapping`; the smallest first, whatever the order in the file, and of equal ones that which costs less."""
    spot = not own.lacks_spot and own.spot_slugs is None and reader.flag("spot")
    gpu = reader.flag("dockerGpu")
    entries = reader.entries("imageSizeMapping")
    if entries is None:
        if provider not in DEFAULT_SIZES:
            reader.wrong("imageSizeMapping", "is missing")
        return tuple(replace(each, spot=spot, gpu=gpu) for each in DEFAULT_SIZES.get(provider, ()))
    if not entries and not reader.mistakes:
        reader.wrong("imageSizeMapping", "must have at least one entry")
    found = [size(entry, provider, spot_of(entry, own, usual=spot), gpu_of(entry, own, usual=gpu)) for entry in entries]
    for offered, count in Counter(each.offered for each in found if each.slug).items():
        if count > 1:
            reader.note(
                "imageSizeMapping", f"has {offered} {count} times: what fails of one is held against the others, too"
            )
    return tuple(sorted(found, key=lambda each: (each.max_images, not each.spot)))


def spot_of(entry: ObjectReader, own: OwnSizes, *, usual: bool) -> bool:
    """Read whether machines of a size may be taken away."""
    if own.spot_slugs is not None:
        return entry.text("slug") in own.spot_slugs
    found = entry.flag("spot", usual)
    if found and own.lacks_spot:
        entry.wrong("spot", own.lacks_spot)
    return found


def gpu_of(entry: ObjectReader, own: OwnSizes, *, usual: bool) -> bool:
    """Read whether machines of a size have a graphics card."""
    return entry.flag("gpu", usual or entry.text("slug") in own.gpu_slugs)


def size(entry: ObjectReader, provider: str, spot: bool, gpu: bool) -> Size:
    """Read one entry of `imageSizeMapping`."""
    entry.ignore("spotPrice", "storage")
    gigabytes, memory = entry.amount("maxGigabytes", positive=True), entry.amount("memoryGigabytes", positive=True)
    found = Size(
        slug=entry.text("slug", required=True),
        max_images=entry.count("maxImages", 0, least=1) if entry.has("maxImages") else missing_count(entry),
        max_bytes=int(gigabytes * GIGABYTE) if gigabytes is not None else None,
        memory_bytes=int(memory * GIGABYTE) if memory is not None else None,
        price_per_hour=entry.amount("pricePerHour"),
        billed_unit_s=BILLING[entry.choice("billing", tuple(BILLING), "second")],
        billed_least_s=entry.count("billingMinimum", 0),
        tasks_at_once_count=entry.count("tasksPerMachine", 1, least=1),
        spot_price=entry.amount("spotPrice", positive=True),
        storage_gb=entry.limit("storage"),
        spot=spot,
        gpu=gpu,
    )
    if provider == AWS and spot and found.spot_price is None:
        entry.wrong("spotPrice", "is missing (spot is true)")
    if provider == AWS and found.storage_gb is None:
        entry.wrong("storage", "is missing")
    return found


def missing_count(entry: ObjectReader) -> int:
    """Note that a size does not say for how many images it is."""
    entry.ignore("maxImages")
    entry.wrong("maxImages", "is missing")
    return 1


def warm_pool(entry: ObjectReader) -> WarmPool:
    """Read one window of the warm pool."""
    days = entry.texts("days", DAYS, some=True)
    for day in days:
        if day not in DAYS:
            entry.wrong("days", f"{day!r} is no day, expected some of {', '.join(DAYS)}")
    return WarmPool(
        machines_count=entry.count("machines", 1, least=1),
        max_images=entry.count("maxImages", 1, least=1),
        from_minute=minute(entry, "from", 0),
        to_minute=minute(entry, "to", MINUTES_PER_DAY),
        days=tuple(DAYS.index(day) for day in days if day in DAYS),
    )


def minute(entry: ObjectReader, key: str, default: int) -> int:
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
