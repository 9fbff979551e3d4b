"""Passwords as they are set: one for each role, each as it is or as a hash (`clusterodm hash-password` writes one).

A hash is `scrypt$<log2 n>$<r>$<p>$<salt>$<key>`, the last two in base64 (RFC 7914). Working one out takes some 50 ms and 16 MB on purpose,
so that it has a thread of its own wherever others wait.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.login import same

HASH: Final = re.compile(r"scrypt\$(\d{1,2})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9+/=]{8,128})\$([A-Za-z0-9+/=]{16,128})")
MARK: Final = "scrypt$"
LOG_N: Final = 14
R: Final = 8
P: Final = 1
MOST_LOG_N: Final = 17
MOST_R: Final = 16
KEY_BYTES: Final = 32
LONGEST_COUNT: Final = 1024
"""Characters of a password that are looked at: a longer one is none."""


class BadPassword(ValueError):
    """A password is set that is none."""


@dataclass(frozen=True)
class Passwords:
    """What opens which role."""

    by_role: Mapping[Role, str] = field(repr=False, default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything is asked for at all."""
        return bool(self.by_role)

    @property
    def slow(self) -> bool:
        """Whether to compare takes long enough to want a thread."""
        return any(stored.startswith(MARK) for stored in self.by_role.values())

    def role_of(self, given: str) -> Role | None:
        """Say which role a password opens, the highest first; None: none. Takes as long whichever it is."""
        found = [role for role, stored in sorted(self.by_role.items()) if is_right(given, stored)]
        return found[-1] if found else None

    def opens(self, user: str, given: str) -> Role | None:
        """Say which role user name and password open together: a user is called as the role is."""
        right = [role for role, stored in self.by_role.items() if is_right(given, stored) & same(user, role.word)]
        return right[0] if right else None


def is_right(given: str, stored: str) -> bool:
    """Compare a password with what is set."""
    if len(given) > LONGEST_COUNT:
        return False
    found = HASH.fullmatch(stored)
    if found is None:
        return same(given, stored)
    cost = Cost(int(found[1]), int(found[2]), int(found[3]), len(base64.b64decode(found[5])))
    key = worked_out(given, base64.b64decode(found[4]), cost)
    return same(base64.b64encode(key).decode(), found[5])


def hashed(password: str, salt: bytes) -> str:
    """Write the hash of a password."""
    key = worked_out(password, salt, Cost(LOG_N, R, P, KEY_BYTES))
    return f"{MARK}{LOG_N}${R}${P}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


class Cost(NamedTuple):
    """How hard a key is to work out, and how long it is."""

    log_n: int
    r: int
    p: int
    length: int


def worked_out(password: str, salt: bytes, cost: Cost) -> bytes:
    """Work a key out."""
    room_bytes = 128 * cost.r * (2**cost.log_n + cost.p + 2)
    secret, n = password.encode("utf-8", "replace"), 2**cost.log_n
    return hashlib.scrypt(secret, salt=salt, n=n, r=cost.r, p=cost.p, dklen=cost.length, maxmem=room_bytes * 2)


def check(stored: str) -> None:
    """See that what is set can be compared with. Raises BadPassword, without repeating it."""
    try:
        stored.encode()
    except UnicodeEncodeError:  # bytes of the environment that are none: any such one would be as good as any other
        raise BadPassword("is no UTF-8") from None
    if not stored.startswith(MARK):
        return
    found = HASH.fullmatch(stored)
    if found is None or not 1 <= int(found[1]) <= MOST_LOG_N or not 1 <= int(found[2]) <= MOST_R or int(found[3]) != P:
        raise BadPassword("is no hash as `clusterodm hash-password` writes it")
    try:
        base64.b64decode(found[4], validate=True), base64.b64decode(found[5], validate=True)
    except ValueError:
        raise BadPassword("is no hash as `clusterodm hash-password` writes it") from None
