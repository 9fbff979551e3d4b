"""What can be rented: sizes, and a size in a region is an offer."""

from dataclasses import dataclass

GIGABYTE = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Size:
    """One entry of `imageSizeMapping`."""

    slug: str
    """The provider's name of it; for the providers without sizes any word."""
    max_images: int
    max_bytes: int | None = None
    """`maxGigabytes`: no dataset with more bytes. None: no limit."""
    memory_bytes: int | None = None
    """`memoryGigabytes`, for tasks that ran out of memory elsewhere. None: not said."""
    price_per_hour: float | None = None
    spot_price: float | None = None
    """The highest bid (aws with `spot`)."""
    storage_gb: int | None = None
    """Size of the root disk (aws)."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A size in a region."""

    size: Size
    region: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What a machine's record keeps of it."""
        return self.region, self.size.slug

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.size.slug} in {self.region}" if self.region else self.size.slug
