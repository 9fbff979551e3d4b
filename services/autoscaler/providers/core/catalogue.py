"""What a cloud says that it has, against what a file names: a sentence for each thing that is not to be had.

Where nothing that the file names can be rented the file is of no use, and who starts with it should know at once. Names that a cloud
has retired are no such reason: files have had them for years, and whoever runs machines must not be kept from destroying them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.config.core.notes import is_retired


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What a cloud has, in the words of the file."""

    regions: frozenset[str] | None = None
    """None: it does not say."""
    sizes: Mapping[str, frozenset[str] | None] | None = None
    """By name the regions that have it; None for one: wherever, for all: it does not say."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """What it has not, besides: by its name in the file a sentence of what is missing."""
    leaving: Mapping[str, str] = field(default_factory=dict)
    """Sizes that it will not have for long: by name until when."""


@dataclass(frozen=True, kw_only=True)
class FileFindings:
    """What came of a comparison."""

    mistakes: tuple[str, ...] = ()
    hopeless: bool = False
    """Nothing that the file names can be rented, and the cloud has not merely retired it."""


@dataclass(frozen=True, kw_only=True)
class CheckOutcome:
    """What a provider's API has said of keys, image, regions and sizes."""

    answered: bool = False
    findings: FileFindings = FileFindings()
    reason: str = ""
    """Why it has not answered."""

    def __str__(self) -> str:
        if self.findings.mistakes:
            return "; ".join(self.findings.mistakes)
        if self.answered:
            return "accepted"
        return f"not tried yet: {self.reason}" if self.reason else "not tried yet"


def compared(provider: str, limits: ScalingLimits, catalogue: Catalogue) -> FileFindings:
    """Compare what a file names with what its cloud has."""
    unknown = [*unknown_regions(limits, catalogue), *unknown_sizes(limits, catalogue), *catalogue.missing]
    sentences = [
        *(f"{provider}: there is no region {region!r}" for region in unknown_regions(limits, catalogue)),
        *(f"{provider}: there is no size {size!r}" for size in unknown_sizes(limits, catalogue)),
        *(f"{provider}: {sentence}" for sentence in catalogue.missing.values()),
        *(f"{provider}: {sentence}" for sentence in elsewhere(limits, catalogue)),
        *(f"{provider}: {sentence}" for sentence in leaving(limits, catalogue)),
    ]
    nothing = bool(catalogue.missing) or not any(pairs(limits, catalogue))
    hopeless = nothing and not any(is_retired(provider, name) for name in unknown)
    return FileFindings(mistakes=tuple(sentences), hopeless=hopeless)


def unknown_regions(limits: ScalingLimits, catalogue: Catalogue) -> list[str]:
    """Give the regions that the cloud does not have."""
    known = catalogue.regions
    return [each for each in limits.regions if each and known is not None and each not in known]


def unknown_sizes(limits: ScalingLimits, catalogue: Catalogue) -> list[str]:
    """Give the sizes that the cloud does not have anywhere, each once."""
    known = catalogue.sizes
    slugs = dict.fromkeys(size.slug for size in limits.sizes)
    return [each for each in slugs if known is not None and each not in known]


def elsewhere(limits: ScalingLimits, catalogue: Catalogue) -> Iterator[str]:
    """Name the sizes that the cloud has, but in none of the file's regions."""
    regions = [each for each in limits.regions if each and each not in unknown_regions(limits, catalogue)]
    for slug in dict.fromkeys(size.slug for size in limits.sizes):
        places = (catalogue.sizes or {}).get(slug)
        if places is not None and regions and not places & set(regions):
            yield f"{slug!r} is not to be had in {', '.join(regions)} now"


def leaving(limits: ScalingLimits, catalogue: Catalogue) -> Iterator[str]:
    """Name the sizes that the cloud will not have for long."""
    for slug in dict.fromkeys(size.slug for size in limits.sizes):
        if slug in catalogue.leaving:
            yield f"{slug!r} will not be had after {catalogue.leaving[slug]}"


def pairs(limits: ScalingLimits, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Give each size and region that can be rented together."""
    for size in limits.sizes:
        if catalogue.sizes is not None and size.slug not in catalogue.sizes:
            continue
        for region in limits.regions:
            if catalogue.regions is None or not region or region in catalogue.regions:
                yield size.slug, region
