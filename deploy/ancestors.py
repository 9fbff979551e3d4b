"""The way to the data directory: who could put another directory in its place.

Whoever may write into a directory may rename what lies in it, so a private data directory is worth what the directories above it are. Each
directory and each link on the way is looked at. A directory as /tmp, where the sticky bit is, lets only owners rename.

What any user of the computer could do is a reason not to start; what one user or one group could do, who may well be meant to, is said once.
"""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LINKS_COUNT: Final = 40
"""As many as the kernel follows."""
ROOT: Final = 0


@dataclass(frozen=True)
class Place:
    """Something on the way."""

    path: Path
    mode: int
    owner: int
    group: int

    @property
    def is_link(self) -> bool:
        """Whether it leads somewhere else."""
        return stat.S_ISLNK(self.mode)

    @property
    def lets_owners_only(self) -> bool:
        """Whether what lies in it is renamed by its owner alone, as in /tmp."""
        return bool(self.mode & stat.S_ISVTX)


@dataclass(frozen=True)
class Weakness:
    """A place where somebody else could put another directory in the place of ours."""

    reason: str
    grave: bool
    """Any user could."""


def way_to(folder: Path) -> Iterator[Place]:
    """Go from / to a directory, through every link; the directory itself is left out. Raises OSError."""
    here, left, links_count = Path("/"), list(reversed(Path(os.path.abspath(folder)).parts[1:])), 0  # noqa: PTH100 links count
    yield place_of(here)
    while left:
        name = left.pop()
        found = place_of(here / name)
        if found.is_link:
            links_count += 1
            if links_count > LINKS_COUNT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
            yield found
            target = found.path.readlink()
            here = Path("/") if target.is_absolute() else here
            left += reversed([part for part in target.parts if part != "/"])
        elif name == "..":
            here = here.parent
        else:
            here = found.path
            if left:
                yield found


def place_of(path: Path) -> Place:
    """Look at one. Raises OSError."""
    status = path.lstat()
    return Place(path, status.st_mode, status.st_uid, status.st_gid)


def weaknesses(folder: Path) -> list[Weakness]:
    """Find where others could exchange a directory. Raises OSError."""
    me, mine = os.geteuid(), private_groups()
    found = (weakness(place, me, mine) for place in dict.fromkeys(way_to(folder)))
    return [each for each in found if each]


def weakness(place: Place, me: int, private: frozenset[int]) -> Weakness | None:
    """Say what is wrong with a place. `private`: groups in which there is nobody but us."""
    if place.owner not in {me, ROOT}:
        who = user_name(place.owner)
        if place.is_link:
            return Weakness(f"{place.path} is a link of the user {who}, who may let it lead elsewhere", grave=True)
        return Weakness(f"{place.path} belongs to the user {who}, who may exchange what lies in it", grave=False)
    if place.is_link or place.lets_owners_only:
        return None
    if place.mode & stat.S_IWOTH:
        return Weakness(f"every user may write into {place.path}, and so exchange what lies in it", grave=True)
    if place.mode & stat.S_IWGRP and place.group not in private:
        group = group_name(place.group)
        return Weakness(f"the group {group} may write into {place.path}, and so exchange what lies in it", grave=False)
    return None


def private_groups() -> frozenset[int]:
    """Name the groups in which there is nobody but us: root's, and one of our own, as each user has on most systems."""
    try:
        user = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(user.pw_gid)
    except KeyError:
        return frozenset({ROOT})
    own = group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
    return frozenset({ROOT, user.pw_gid}) if own else frozenset({ROOT})


def user_name(number: int) -> str:
    """Name a user."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """Name a group."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
