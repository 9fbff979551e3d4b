"""Tenants and their tokens, as they stand in the file behind `--tokens`. Pure.

A *tenant* is whom tasks belong to and who has limits, a weight and a priority. A *token* is one of the secrets by which a client shows
that it speaks for a tenant: there may be several at once, each can expire or be revoked, and no task depends on any of them. So a token
is rotated by issuing another for the same tenant.

The file holds no token: only SHA-256 digests. That is enough for tokens that were made here (256 random bits, nothing to guess);
for one that an operator brings along a least length is asked for. A file with a mistake is refused as a whole, with one line that says
what is wrong: a limit with a typing error must not be a limit that nobody enforces.
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.model.nodes import mistake_in_labels
from clusterodm.libs.common.model.values import NOBODY, Frozen, Owner
from clusterodm.libs.common.untrusted import Malformed, decode_json

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""Of a tenant: it is a key in stores, a label and a file's column."""
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
LIKE_A_DIGEST: Final = re.compile(r"[0-9a-f]{32}")
"""How owners are called where nobody has a name: no tenant may be called so."""
OWNER_LENGTH: Final = 32
"""How long those are, in hexadecimal digits: 128 bits, far beyond chance."""
TOKENS_FILE: Final = "tokens.json"
"""Its name in a data directory, where no other is given."""
FILE_LIMIT_BYTES: Final = 16 << 20
TOKENS_COUNT: Final = 100_000
HIGHEST_WEIGHT: Final = 1_000
HIGHEST_PRIORITY: Final = 10
LEAST_TOKEN_LENGTH: Final = 16


class OptionRange(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Between which values an option is brought; the original's `between`."""

    min: float | None = None
    max: float | None = None
    max_if_equal_to: float | str | bool | None = None
    """This value stands for the highest one."""


class OptionLimit(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant may choose for one option; the original's entries of `limits.options`, by their names."""

    value: str | int | float | bool | None = None
    """The default that clients are shown; "true": it is always set."""
    domain: str | list[str] | None = None
    """Instead of the node's own domain."""
    assure: bool = False
    """Where a client does not choose it, it is set to `value`."""
    between: OptionRange | None = None


class Tenant(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom tasks belong to. 0: no limit."""

    name: str = ""
    """Empty: whoever it is, nobody has given him a name (a cluster without `--tokens`)."""
    owner: Owner = Owner("")
    """What its tasks are marked with; empty: its name. Another where it has taken over the tasks of a token without a name."""
    weight: int = 1
    """Its share of the slots, against the others that wait: 1 to 1000."""
    priority: int = 0
    """Who goes first, whatever the weights: -10 to 10, the higher the sooner."""
    max_images_count: int = 0
    """Images of one task."""
    max_task_bytes: int = 0
    """Of all files of one task."""
    tasks_at_once_count: int = 0
    """Tasks that may be under way; more of them wait."""
    storage_bytes: int = 0
    """Of all files that the cluster keeps for it: uploads, and inputs of tasks."""
    options: dict[str, OptionLimit] = msgspec.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    """Its tasks go only to nodes with all of these; none: to any that is not reserved for others."""

    @property
    def account(self) -> Owner:
        """What its tasks are marked with."""
        return self.owner or Owner(self.name)

    @property
    def is_limited(self) -> bool:
        """Whether what it uploads has to be counted."""
        return bool(self.max_images_count or self.max_task_bytes or self.storage_bytes)


class IssuedToken(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One token, without the token."""

    id: str
    """How operators call it; it says nothing of the token."""
    tenant: str
    sha256: str
    """Its digest, hexadecimal."""
    created_at_ms: int = 0
    expires_at_ms: int | None = None
    """None: never."""
    note: str = ""

    def __repr__(self) -> str:
        """Show no digest."""
        return f"IssuedToken({self.id} of {self.tenant})"


class TokensFile(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    tenants: tuple[Tenant, ...] = ()
    tokens: tuple[IssuedToken, ...] = ()


class ShownToken(NamedTuple):
    """What a client has shown: hashed once, looked up by the digest."""

    text: str
    sha256: str

    def __repr__(self) -> str:
        """Show nothing of it."""
        return "ShownToken(***)"

    @property
    def owner(self) -> Owner:
        """The owner without a name behind it."""
        return Owner(self.sha256[:OWNER_LENGTH]) if self.text else NOBODY


def shown(text: str) -> ShownToken:
    """Hash what a client has sent."""
    return ShownToken(text, digest_of(text))


def digest_of(token: str) -> str:
    """Say the digest of a token, as the file holds it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class TokenBook:
    """All tokens by their digests."""

    def __init__(self, file: TokensFile) -> None:
        self.tenants = {tenant.name: tenant for tenant in file.tenants}
        self._tokens = {token.sha256: (token, self.tenants[token.tenant]) for token in file.tokens}

    def __len__(self) -> int:
        """How many tokens."""
        return len(self._tokens)

    def valid_count(self, now_ms: WallMs) -> int:
        """Count the tokens that let somebody in."""
        return sum(found.expires_at_ms is None or now_ms < found.expires_at_ms for found, _ in self._tokens.values())

    def tenant_of(self, token: ShownToken, now_ms: WallMs) -> Tenant | None:
        """Say for whom a token speaks; None: for nobody, or not any more. One lookup and one comparison, whatever comes of it."""
        found, tenant = self._tokens.get(token.sha256, NO_TOKEN)
        same = hmac.compare_digest(found.sha256, token.sha256)
        in_time = found.expires_at_ms is None or now_ms < found.expires_at_ms
        return tenant if same and in_time and tenant.name else None


NO_TOKEN: Final = (IssuedToken(id="", tenant="", sha256="0" * 64), Tenant())


def read_tokens(content: bytes) -> TokensFile:
    """Read the file. Raises Refused with one line that says what is wrong, and holds no digest."""
    try:
        file = decode_json(content, TokensFile, limit_bytes=FILE_LIMIT_BYTES)
    except Malformed as error:
        raise Refused(str(error)) from None
    if mistake := next(iter(mistakes_in(file)), None):
        raise Refused(mistake)
    return file


def mistakes_in(file: TokensFile) -> list[str]:
    """Find what the shape alone does not tell."""
    names = [tenant.name for tenant in file.tenants]
    accounts = [tenant.account for tenant in file.tenants]
    found = [mistake for tenant in file.tenants if (mistake := mistake_in_tenant(tenant))]
    found += [f"there are two tenants {name!r}" for name in doubled(names)]
    found += [f"two tenants own the tasks of {account!r}" for account in doubled(accounts) if account not in names]
    found += [mistake for token in file.tokens if (mistake := mistake_in_token(token, frozenset(names)))]
    found += [f"there are two tokens {id_!r}" for id_ in doubled([token.id for token in file.tokens])]
    if doubled([token.sha256 for token in file.tokens]):
        found.append("two entries stand for the same token")
    if len(file.tokens) > TOKENS_COUNT:
        found.append(f"more than {TOKENS_COUNT} tokens")
    return found


def doubled(values: list[Any]) -> list[Any]:
    """Find what is there twice."""
    return sorted(value for value, count in Counter(values).items() if count > 1)


def mistake_in_tenant(tenant: Tenant) -> str:
    """Say what is wrong with a tenant; empty: nothing."""
    if not NAME.fullmatch(tenant.name) or LIKE_A_DIGEST.fullmatch(tenant.name):
        return f"{tenant.name[:80]!r} is no name of a tenant (small letters, digits, - and _)"
    if tenant.owner and not LIKE_A_DIGEST.fullmatch(tenant.owner):
        return f"tenant {tenant.name!r}: owner is no digest of a token"
    if not 1 <= tenant.weight <= HIGHEST_WEIGHT:
        return f"tenant {tenant.name!r}: weight must be 1 to {HIGHEST_WEIGHT}"
    if abs(tenant.priority) > HIGHEST_PRIORITY:
        return f"tenant {tenant.name!r}: priority must be {-HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}"
    numbers = ("max_images_count", "max_task_bytes", "tasks_at_once_count", "storage_bytes")
    if negative := [name for name in numbers if getattr(tenant, name) < 0]:
        return f"tenant {tenant.name!r}: {negative[0]} is negative"
    mistake = mistake_in_labels(tenant.labels)
    return f"tenant {tenant.name!r}: {mistake}" if mistake else ""


def mistake_in_token(token: IssuedToken, tenants: frozenset[str]) -> str:
    """Say what is wrong with a token; empty: nothing."""
    if not token.id or not DIGEST.fullmatch(token.sha256):
        return f"token {token.id[:80]!r}: sha256 is no digest of 64 hexadecimal digits"
    if token.sha256 == digest_of(""):
        return f"token {token.id[:80]!r} is empty: it would let everybody in"
    if token.tenant not in tenants:
        return f"token {token.id[:80]!r} is of tenant {token.tenant[:80]!r}, which there is not"
    return ""


def limits_of(said: Mapping[str, Any], *, lenient: bool = True) -> dict[str, OptionLimit]:
    """Read limits of options as the original's providers write them. Raises Malformed.

    `lenient`: what this version does not know of them does not count.
    """
    known = {name: known_fields(limit) for name, limit in said.items() if isinstance(limit, dict)}
    try:
        return msgspec.convert(known if lenient else said, dict[str, OptionLimit])
    except msgspec.ValidationError as error:
        raise Malformed(f"limits of options: {error}") from None


def known_fields(limit: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what this version does not know of a limit."""
    kept = {name: value for name, value in limit.items() if name in OptionLimit.__struct_fields__}
    if isinstance(between := kept.get("between"), dict):
        kept["between"] = {name: value for name, value in between.items() if name in OptionRange.__struct_fields__}
    return kept
