"""What an `--asr` file must say, in the original's format (one JSON object, `provider` names the cloud)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from libs.common.errors import Refused

PROVIDERS: Final = ("digitalocean", "aws", "hetzner", "scaleway")


@dataclass(frozen=True)
class Configuration:
    """A checked configuration. The keys that only machines need stay in the file: some of them are secrets."""

    provider: str


def check(content: object) -> Configuration:
    """Make a configuration of decoded JSON. Raises Refused with a sentence for whoever wrote the file."""
    if not isinstance(content, Mapping):
        raise Refused("the file must hold a JSON object")
    provider = content.get("provider")
    if not provider:
        raise Refused(f"the file names no provider, one of {', '.join(PROVIDERS)}")
    if provider not in PROVIDERS:
        raise Refused(f"unknown provider {provider!r}, expected one of {', '.join(PROVIDERS)}")
    return Configuration(provider=provider)
