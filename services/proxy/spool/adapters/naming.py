"""How a complete file gets its name; in threads, several of which may publish files of one upload.

A file appears under its name by `link`, which never replaces one: of any number of uploads of one name each keeps its own.
The same content under the same name is kept once; bytes are compared only when names collide, so nothing is hashed.

A request that fails takes back the names that it has given, but for those under which another request has found a twin: that has removed its own file, and
relies on this one. The last one that does so takes such a name back should it fail, too.
"""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from clusterodm.services.proxy.spool.core.upload import StoredFile, candidates

COMPARED_BYTES: Final = 1 << 20


class TwinNames:
    """Names of an upload under which requests have found twins of their files: whoever has just given such a name leaves it. Used by threads."""

    def __init__(self) -> None:
        self._relied_on: Counter[str] = Counter()
        """By how many files that went because of each."""
        self._left: dict[str, StoredFile] = {}
        """Their givers have failed."""
        self._compared: Counter[str] = Counter()
        """With how many files each is being compared."""
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        """Show how many there are."""
        return f"TwinNames({len(self._relied_on)})"

    def is_twin(self, name: str, compare: Callable[[], bool]) -> bool:
        """Compare a file with the one of a name; from then on a twin may be relied on. Raises what `compare` raises."""
        with self._changed:
            self._compared[name] += 1
        is_same = False
        try:
            is_same = compare()
        finally:
            with self._changed:
                self._compared -= Counter((name,))
                self._relied_on.update((name,) if is_same else ())
                self._changed.notify_all()
        return is_same

    def clear(self) -> None:
        """Forget them: nothing is being published."""
        self._relied_on.clear()
        self._left.clear()

    def take_back(
        self, folder: str, given: Mapping[str, StoredFile], relied_on: Sequence[str] = ()
    ) -> dict[str, StoredFile]:
        """Take back the names that a request which fails has given, and rely on others' for it no longer; which are free again, other requests' among them.

        A name that somebody relies on stays until the last of these has failed, too. `relied_on` has one for each file.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._compared.keys().isdisjoint((*self._left, *given)))
            self._relied_on -= Counter(relied_on)
            self._left |= given
            gone = [name for name in self._left if name not in self._relied_on and removed(f"{folder}/{name}")]
            return {name: self._left.pop(name) for name in gone}


def removed(path: str) -> bool:
    """Remove a file; whether that worked."""
    try:
        os.unlink(path)  # noqa: PTH108 as everywhere here
    except OSError:
        return False
    return True


def name_one(path: str, wanted: str, folder: str, is_twin: Callable[[str], bool]) -> tuple[str, bool]:
    """Give a complete file the first of its names that is free, or that its twin has; which that is, and whether it was free. Raises Refused, OSError."""
    for name in candidates(wanted):
        for _ in range(2):
            try:
                os.link(path, f"{folder}/{name}")
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):  # it was taken back meanwhile: the name may be free
                    if is_twin(name):
                        return name, False
                    break
            else:
                return name, True
    raise AssertionError("there is always another name")


def same_content(one: Path, other: Path) -> bool:
    """Compare two files byte by byte."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb", buffering=0) as first, other.open("rb", buffering=0) as second:
        while chunk := first.read(COMPARED_BYTES):
            if second.read(COMPARED_BYTES) != chunk:
                return False
    return True
