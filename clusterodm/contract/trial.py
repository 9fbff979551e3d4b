"""What the author of a provider brings so that it can be tried: a stand-in of its API (or the real one), and the keys for it.

    @asynccontextmanager
    async def trial(folder: Path) -> AsyncIterator[Trial]:
        async with my_stand_in() as api, http_faults(api.url, WORDS) as faults:
            keys = {"token": "made-up"}
            yield Trial(keys=keys | {"endpoint": faults.url}, straight=keys | {"endpoint": api.url}, faults=faults, slug="small")

`Provider.trial = "mypackage.trial:trial"` says where it is; `--trial` of pytest says it too.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clusterodm.contract.failures import Faults


@dataclass(kw_only=True)
class Trial:
    """One provider in front of a stand-in. Whatever is left out is found out by the provider itself."""

    keys: Mapping[str, Any]
    """The provider's own keys of the file, for a provider whose calls may go wrong."""
    straight: Mapping[str, Any]
    """The same for one whose calls do not: what the suite itself looks with."""
    faults: Faults
    slug: str
    """A size."""
    region: str = ""
    memory_bytes: int | None = None
    secrets: Sequence[str] = ()
    """Texts that must never be shown."""
    required: Sequence[str] = ()
    """Keys without which the file is refused, with a line that names the key."""
    has_keys: bool = True
    """Whether there are keys that may be wrong."""
    unique_names: bool = False
    """Whether the API itself refuses a second machine of one name."""
    without: frozenset[str] = frozenset()
    """What cannot go wrong there: `capacity`, `limit`, `rate`, ..."""
    unknown_ref: str = "424242"
    """An id, as the API writes them, of nothing."""
    many_count: int = 120
    """So many machines make a list of several pages."""
    present: Callable[[], Sequence[str] | Awaitable[Sequence[str]]] | None = None
    """Give the names of all that exists and costs, leftovers of machines (disks) included."""
    rent: Callable[[str], Awaitable[None] | None] | None = None
    """Rent a machine of this name to somebody else."""
    environment: Mapping[str, str] = field(default_factory=dict)
