"""What a setting is: its type, default, bounds and description; and a class of settings, whose instances are frozen.

    class ExampleSettings(Settings):
        port: int = Field(3000, ge=0, le=65535, description="port that clients connect to")

    ExampleSettings(port="3100").port == 3100

This is our own, and so are readers.py and flags.py, because every process waits for it when it starts: a library that first builds a
schema for each class took a third of the time until the first answer (decision 98).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, get_origin

from clusterodm.libs.common.settings.readers import plain_kind, read

REQUIRED: Final = object()
"""The default of a setting that must be given."""
BOUNDS: Final[Mapping[str, tuple[Callable[[float, float], bool], str]]] = {
    "gt": (lambda value, bound: value > bound, "greater than"),
    "ge": (lambda value, bound: value >= bound, "greater than or equal to"),
    "lt": (lambda value, bound: value < bound, "less than"),
    "le": (lambda value, bound: value <= bound, "less than or equal to"),
    "least": (lambda value, bound: value == 0 or value >= bound, "0, or greater than or equal to"),
}
SHORTEST: Final = 0.001
"""What a time is at least that has no lower bound of its own, in its own unit: no timer is more exact, and a shorter one is a mistake in its unit. 0 is no time where it is allowed."""
TIMES: Final = frozenset(("s", "ms", "h", "d", "timeout"))
"""Units at the end of names."""
LONGEST_S: Final = 315_360_000
"""Ten years. No timer, record or stream of NATS (nanoseconds in 64 bits) fails for that."""
LONGEST_STOP_S: Final = 86_400
"""Whoever is told to stop, and takes longer than a day, only looks as if nothing could stop it."""
LARGEST: Final = 2**53 - 1
"""The largest whole number that every reader of JSON takes as it is (RFC 8259, 6)."""
MOST: Final[Mapping[str, int]] = {
    "s": LONGEST_S,
    "ms": LONGEST_S * 1000,
    "h": LONGEST_S // 3600,
    "d": LONGEST_S // 86_400,
    "mb": LARGEST // 10**6,
}
"""What a number is at most that has no upper bound of its own, by the unit at the end of its name."""


class SettingsError(ValueError):
    """Something is set wrongly: one line per mistake."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, as it is declared."""

    kind: Any
    default: Any
    description: str
    bounds: Mapping[str, float]
    check: Callable[[Any], object] | None
    private: bool = False
    """Whether it names a file that nobody else should read."""
    group: str = ""
    """Under which title the help shows it."""

    @property
    def listed(self) -> bool:
        """Whether it may be given several times."""
        return get_origin(self.kind) is list

    def value_of(self, given: Any) -> Any:
        """Read what was given. Raises ValueError."""
        value = read(self.kind, given)
        for name, bound in self.bounds.items():
            fits, words = BOUNDS[name]
            if value is not None and not fits(value, bound):
                raise ValueError(f"input should be {words} {bound:.17g}")
        if self.check:
            self.check(value)
        return value


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What stands behind the type in the class of the settings."""

    default: Any
    description: str
    bounds: Mapping[str, float]
    check: Callable[[Any], object] | None
    private: bool

    def of(self, name: str, kind: Any, group: str) -> Setting:
        """Add the type, the bounds of every number, and the title under which it stands."""
        return Setting(
            kind=kind,
            default=self.default,
            description=self.description,
            bounds=bounded(name, self.bounds, plain_kind(kind)),
            check=self.check,
            private=self.private,
            group=group,
        )


def Field(  # noqa: N802, PLR0913 it stands where a class would, and says all that there is to say
    default: Any = REQUIRED,
    *,
    description: str = "",
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    least: float | None = None,
    check: Callable[[Any], object] | None = None,
    private: bool = False,
) -> Any:
    """Declare a setting. `least`: what it is at least where it is not 0; `check`: raises ValueError for what the type and the bounds let through; `private`: it names a file that nobody else should read."""
    given = {"gt": gt, "ge": ge, "lt": lt, "le": le, "least": least}
    bounds = {name: bound for name, bound in given.items() if bound is not None}
    return Declared(default=default, description=description, bounds=bounds, check=check, private=private)


class Settings:
    """Values of all settings that a class and its bases declare. Raises SettingsError."""

    settings: ClassVar[Mapping[str, Setting]] = {}
    """By name, those of the bases first."""
    group: ClassVar[str] = "Settings"
    """The title of what a class declares, in the help."""
    everyday: ClassVar[Sequence[str]] = ()
    """What the help shows, where it would be too long otherwise; the rest has `--help-all`. Empty: everything."""
    examples: ClassVar[Sequence[tuple[str, str]]] = ()
    """Flags, and what they do."""
    sources: Mapping[str, str] = {}
    """Where each value comes from that is set, by name: "file", "environment" or "flag"."""

    def __init_subclass__(cls) -> None:
        """Take what is declared out of the class."""
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Declared)}
        for name in own:
            delattr(cls, name)
        inherited = {name: one for base in reversed(cls.__bases__) for name, one in vars_of(base).items()}
        cls.settings = inherited | {
            name: value.of(name, cls.__annotations__[name], cls.group) for name, value in own.items()
        }

    def __init__(self, **given: Any) -> None:
        mistakes = [f"unknown setting {flag(name)}" for name in given.keys() - self.settings.keys()]
        values: dict[str, Any] = {}
        for name, setting in self.settings.items():
            if name not in given:
                values[name] = setting.default
                if setting.default is REQUIRED:
                    mistakes.append(f"{flag(name)}: field required")
                continue
            try:
                values[name] = setting.value_of(given[name])
            except ValueError as error:
                mistakes.append(f"{flag(name)}: {error}{shown(name, given[name])}")
        if mistakes:
            raise SettingsError("\n".join(mistakes))
        self.given: frozenset[str]
        """What is set, and not left at its default."""
        vars(self).update(values, given=frozenset(given))
        try:
            self.check()
        except ValueError as error:
            raise SettingsError(str(error)) from None

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse it."""
        raise AttributeError(f"settings are frozen: {name}")

    def __repr__(self) -> str:
        """Show what is set."""
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in sorted(self.given))})"

    def check(self) -> None:
        """Look at what depends on more than one setting. Raises ValueError."""

    def changed(self, **values: Any) -> Self:
        """Make the same with other values for some settings."""
        other = type(self)(**{name: getattr(self, name) for name in self.given} | values)
        vars(other)["sources"] = self.sources
        return other


def bounded(name: str, bounds: Mapping[str, float], kind: Any) -> Mapping[str, float]:
    """Add the bounds of a number where there are none. A rate (`_per_s`) is no time."""
    if kind not in {int, float}:
        return bounds
    _, per, _ = name.rpartition("_per_")
    unit = "" if per else name.rpartition("_")[2]
    most = {} if "le" in bounds or "lt" in bounds else {"le": MOST.get(unit, LARGEST)}
    if kind is int or unit not in TIMES:
        return {**bounds, **most}
    if bounds.get("gt") == 0:
        return {"ge": SHORTEST, **{each: bound for each, bound in bounds.items() if each != "gt"}, **most}
    return {**bounds, "least": bounds.get("least", SHORTEST), **most}


def different_ports(ports: Mapping[str, int]) -> None:
    """See that no two flags name one port; 0 is none. Raises ValueError."""
    taken: dict[int, str] = {}
    for name, port in ports.items():
        if port and port in taken:
            raise ValueError(f"{taken[port]} and {name} are both port {port}: choose another for one of them")
        taken[port] = name


def vars_of(base: type) -> Mapping[str, Setting]:
    """List what a base declares; nothing when it declares no settings."""
    return base.settings if issubclass(base, Settings) else {}


def flag(name: str) -> str:
    """Name the flag of a setting."""
    return f"--{name.replace('_', '-')}"


def shown(name: str, given: object) -> str:
    """Repeat what was given, unless it may be secret."""
    return f" (got {given!r})" if isinstance(given, str | int | float) and not secret(name) else ""


def secret(name: str) -> bool:
    """Whether a setting's value must not be repeated."""
    return any(word in name for word in ("token", "pass", "secret", "nats_url", "nats_from"))
