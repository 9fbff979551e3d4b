"""Reads one JSON object key by key, and collects every mistake as a line that names the key.

It remembers which keys were asked for: what is left at the end is unknown, and told with the nearest known one. A secret
may be the text itself, `{"env": "NAME"}` or `{"file": "path"}`; where those are looked up is handed in (`Outside`).
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.wording import mistake_in_address, mistake_in_cloud_key, mistake_in_text
from clusterodm.services.autoscaler.orders import NO_SECRET

PLACEHOLDER: Final = "CHANGEME"
"""With and without "!": the original's examples have both."""
UNLIMITED: Final = -1
LARGEST: Final = 2**53
"""As JSON's numbers go everywhere."""

Kind = TypeVar("Kind")


def shown(key: str) -> str:
    """Write a key so that it cannot steer a terminal or begin a line."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in key)


class SettingsReader(Protocol):
    """A kind of provider, as far as it reads its own keys of the file."""

    @staticmethod
    def read(keys: "ObjectReader") -> Any:
        """Read them; mistakes stay with the reader."""


@dataclass(frozen=True)
class Outside:
    """What a file may point to."""

    environment: Mapping[str, str]
    read: Callable[[str], str]  # the content of a file; raises OSError, UnicodeError and Refused
    exists: Callable[[str], bool]
    kinds: Mapping[str, SettingsReader]  # the providers by their names in the file
    plain: Callable[[], object] = lambda: None  # called for each secret that stands in the file itself


class ObjectReader:
    """One object of the file."""

    def __init__(self, content: Mapping[str, Any], outside: Outside, path: str = "") -> None:
        self.mistakes: list[str] = []
        self._notes: list[str] = []
        self.outside = outside
        self._content = content
        self._path = path
        self._asked: set[str] = set()
        self._inner: list[ObjectReader] = []

    def text(self, key: str, default: str = "", *, required: bool = False, lines: bool = False) -> str:
        """Read a text; null is the default. `lines`: it may have several."""
        value: str = self._value(key, str, "a text", default, required=required)
        if value.rstrip("!") == PLACEHOLDER:
            self.wrong(key, f"is still {value!r}: set it to your own")
            return default
        return value if lines else self._sound(key, value, default, mistake_in_text)

    def address(self, key: str, default: str = "") -> str:
        """Read the address of a server, `http://` or `https://`."""
        return self._sound(key, self.text(key, default), default, mistake_in_address)

    def named(self, key: str, mistake_in: Callable[[str], str], default: str = "", *, required: bool = False) -> str:
        """Read a text of which `mistake_in` says what is wrong with it; empty: nothing."""
        return self._sound(key, self.text(key, default, required=required), default, mistake_in)

    def flag(self, key: str, default: bool = False) -> bool:
        """Read true or false."""
        found: bool = self._value(key, bool, "true or false", default)
        return found

    def count(self, key: str, default: int, least: int = 0) -> int:
        """Read a whole number."""
        found: int = self._at_least(key, self._value(key, int, "a whole number", max(default, least)), least)
        return found

    def limit(self, key: str, least: int = 1) -> int | None:
        """Read a whole number of which -1, as in the original, or nothing means that there is no limit."""
        found: int = self._value(key, int, "a whole number", UNLIMITED)
        return None if found == UNLIMITED else int(self._at_least(key, found, least, " (or -1)"))

    def amount(self, key: str, default: float | None = None, *, positive: bool = False) -> float | None:
        """Read a number that is not negative; `positive`: nor 0."""
        found: float = self._value(key, (int, float), "a number", UNLIMITED)
        if found == UNLIMITED:
            return default
        if not math.isfinite(found):
            self.wrong(key, "must be a number")
            return default
        if positive and found == 0:
            self.wrong(key, "is 0: give more, or leave it out")
            return default
        return float(self._at_least(key, found, 0.0, " (or -1)"))

    def ratio(self, key: str, default: float) -> float:
        """Read a number that is not negative; false is 0 and true the default."""
        value = self._content.get(key)
        if isinstance(value, bool):
            self._asked.add(key)
            return default if value else 0.0
        found = self.amount(key, default)
        return default if found is None else found

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """Read one of a few words."""
        found = self.text(key, default)
        if found not in choices:
            self.wrong(key, f"is {found!r}, expected {' or '.join(map(repr, choices))}")
            return default
        return found

    def texts(
        self, key: str, default: tuple[str, ...] = (), *, some: bool = False, lines: bool = False
    ) -> tuple[str, ...]:
        """Read a list of texts; a single text is a list of one. `some`: there must be one at least; `lines`: each may have several."""
        self._asked.add(key)
        value = self._content.get(key)
        if value is None:
            return default
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(each, str) and each for each in values):
            self.wrong(key, "must be a text or a list of texts")
            return default
        if some and not values:
            self.wrong(key, "is an empty list: name one, or leave it out")
            return default
        for mistake in () if lines else dict.fromkeys(filter(None, map(mistake_in_text, values))):
            self.wrong(key, f"an entry {mistake}")
        return tuple(values)

    def secret(self, key: str, *, required: bool = False) -> Secret:
        """Read a secret: the text, `{"env": "NAME"}` or `{"file": "path"}`."""
        value = self._content.get(key)
        if isinstance(value, Mapping):
            self._asked.add(key)
            return self._secret_elsewhere(key, value)
        text = self.text(key, required=required)
        if text:
            self.outside.plain()
        return Secret(text) if text else NO_SECRET

    def cloud_key(self, key: str, *, required: bool = False) -> Secret:
        """Read a secret that a cloud takes in the head of a request."""
        found = self.secret(key, required=required)
        if mistake := mistake_in_cloud_key(found.reveal()):
            self.wrong(key, mistake)
        return found

    def section(self, key: str, *, required: bool = False) -> "ObjectReader":
        """Read an object inside; what is wrong in it counts here."""
        value = self._value(key, dict, "an object", {}, required=required)
        return self._child(value, f"{self._path}{key}.")

    def entries(self, key: str) -> list["ObjectReader"] | None:
        """Read a list of objects; None when the key is absent."""
        self._asked.add(key)
        value = self._content.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.wrong(key, "must be a list of objects")
            return []
        return [self._child(each, f"{self._path}{key}[{place}].") for place, each in enumerate(value)]

    def objects(self, key: str) -> Sequence[Mapping[str, Any]]:
        """Read a list of objects as they stand; what is none is a mistake."""
        value = self._value(key, list, "a list of objects", [])
        if not all(isinstance(each, dict) for each in value):
            self.wrong(key, "must be a list of objects")
            return []
        found: Sequence[Mapping[str, Any]] = value
        return found

    def leave(self) -> None:
        """Read no further: nobody knows which keys there may be."""
        self._asked.update(self._content)

    def part(self, content: Mapping[str, Any], path: str) -> "ObjectReader":
        """Read an object that was put together; what is wrong in it counts here."""
        return self._child(content, f"{self._path}{path}.")

    def has(self, key: str) -> bool:
        """Whether the key is there and says anything."""
        return self._content.get(key) not in (None, "")

    def existing(self, key: str) -> str:
        """Read the path of a file that must exist; empty when the key is."""
        path = self.text(key)
        if path and not self.outside.exists(path):
            self.wrong(key, f"{path}: file does not exist")
        return path

    def ignore(self, *keys: str) -> None:
        """Take keys for known without looking at them."""
        self._asked.update(keys)

    def wrong(self, key: str, what: str) -> None:
        """Note a mistake."""
        self.mistakes.append(f"{shown(self._path + key)}: {what}")

    def note(self, key: str, what: str) -> None:
        """Note what is no mistake, and yet worth a line to whoever checks the file."""
        self._notes.append(f"{self._path}{key}: {what}")

    @property
    def notes(self) -> list[str]:
        """All notes, inner objects' too."""
        return [*self._notes, *(note for inner in self._inner for note in inner.notes)]

    def names(self) -> list[str]:
        """Give the keys of an object whose keys are anybody's to choose."""
        return list(self._content)

    def slugs(self) -> list[str]:
        """Give the names of the sizes that the file has (`imageSizeMapping`), whatever else is wrong with them."""
        entries = self._content.get("imageSizeMapping")
        named = [each.get("slug") for each in entries if isinstance(each, Mapping)] if isinstance(entries, list) else []
        return [slug for slug in named if isinstance(slug, str) and slug]

    def plain(self, key: str) -> dict[str, Any]:
        """Read an object as it stands, to be handed on."""
        found: dict[str, Any] = self._value(key, dict, "an object", {})
        return found

    def finish(self) -> list[str]:
        """Give all mistakes, unknown keys among them, inner objects' too."""
        for key in self._content:
            if key not in self._asked:
                near = difflib.get_close_matches(key, sorted(self._asked), n=1)
                self.wrong(key, f"unknown key{f' (did you mean {near[0]!r}?)' if near else ''}")
        return [*self.mistakes, *(mistake for inner in self._inner for mistake in inner.finish())]

    def _child(self, content: Mapping[str, Any], path: str) -> "ObjectReader":
        inner = ObjectReader(content, self.outside, path)
        self._inner.append(inner)
        return inner

    def _sound(self, key: str, value: str, default: str, mistake_in: Callable[[str], str]) -> str:
        """Give a text with which nothing is wrong; what is missing is no mistake here."""
        if value and (mistake := mistake_in(value)):
            self.wrong(key, mistake)
            return default
        return value

    def _value(
        self, key: str, kind: type[Kind] | tuple[type[Any], ...], expected: str, default: Any, *, required: bool = False
    ) -> Any:
        self._asked.add(key)
        value = self._content.get(key)
        if value is None or (required and value == ""):
            if required:
                self.wrong(key, "is missing")
            return default
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self.wrong(key, f"must be {expected}")
            return default
        if isinstance(value, int) and abs(value) > LARGEST:
            self.wrong(key, f"is larger than {LARGEST}")
            return default
        return value

    def _at_least(self, key: str, value: Any, least: float, otherwise: str = "") -> Any:
        if value < least:
            self.wrong(key, f"is {value}, must be at least {least:g}{otherwise}")
            return least
        return value

    def _secret_elsewhere(self, key: str, place: Mapping[str, Any]) -> Secret:
        if set(place) == {"env"} and isinstance(place["env"], str):
            found = self.outside.environment.get(place["env"], "")
            missing = f"the environment has no {place['env']}"
        elif set(place) == {"file"} and isinstance(place["file"], str):
            found, missing = self._file(place["file"])
        else:
            found, missing = "", 'must be a text, {"env": "NAME"} or {"file": "path"}'
        if mistake := missing if not found else mistake_in_text(found):
            self.wrong(key, mistake)
            return NO_SECRET
        return Secret(found)

    def _file(self, path: str) -> tuple[str, str]:
        try:
            return self.outside.read(path).strip(), f"{path} is empty"
        except Refused as error:
            return "", f"{path}: {error.message}"
        except (OSError, UnicodeError) as error:
            return "", f"{path}: {getattr(error, 'strerror', None) or 'cannot be read'}"
