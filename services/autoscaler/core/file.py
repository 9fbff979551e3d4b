"""The `--asr` file: from its text to a `Configuration`, or to one line per mistake.

Known keys, types and defaults of every provider are the original's, so that its files work unchanged; its own examples
hold a trailing comma here and there, which is accepted. Adding a provider is a function in `file_clouds.CLOUD` and its name
in `configuration.PROVIDERS`.

file_clouds    one provider each        file_limits    sizes, limits, budget, warm pool        file_node    the node, S3
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from libs.common.errors import Refused
from services.autoscaler.core.configuration import (
    API,
    CLOUDS,
    DOCKER_MACHINE,
    MODES,
    PROVIDERS,
    Configuration,
    Patience,
)
from services.autoscaler.core.file_clouds import CLOUD
from services.autoscaler.core.file_limits import limits
from services.autoscaler.core.file_node import node
from services.autoscaler.core.reader import Outside, Reader

TRAILING_COMMA: Final = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


def parse(text: str, outside: Outside) -> Configuration:
    """Make a configuration of a file's text. Raises Refused with one line per mistake."""
    try:
        content = json.loads(TRAILING_COMMA.sub(lambda found: found[1] or "", text))
    except ValueError as error:
        raise Refused(f"not valid JSON: {error}") from None
    return read(content, outside)


def read(content: object, outside: Outside) -> Configuration:
    """Make a configuration of decoded JSON. Raises Refused with one line per mistake."""
    if not isinstance(content, Mapping):
        raise Refused("the file must hold a JSON object")
    provider = content.get("provider")
    if not provider:
        raise Refused(f"the file names no provider, one of {', '.join(PROVIDERS)}")
    if provider not in PROVIDERS:
        raise Refused(f"unknown provider {provider!r}, expected one of {', '.join(PROVIDERS)}")
    reader = Reader(content, outside)
    reader.ignore("provider")
    found = configuration(str(provider), reader)
    if mistakes := reader.finish():
        raise Refused("\n".join(mistakes))
    return found


def configuration(provider: str, reader: Reader) -> Configuration:
    """Read all of it; mistakes stay with the reader."""
    cloud = CLOUD[provider](reader)
    return Configuration(
        provider=provider,
        mode=reader.choice("mode", MODES, DOCKER_MACHINE) if provider in CLOUDS else API,
        limits=limits(provider, reader),
        cloud=cloud,
        node=node(provider, reader, cloud),
        patience=patience(reader),
        downloads=reader.choice("downloads", ("redirect", "stream"), "redirect"),
    )


def patience(reader: Reader) -> Patience:
    """Read how long the steps may take."""
    usual = Patience()
    return Patience(
        create_s=reader.count("createTimeout", usual.create_s, least=1),
        set_up_s=reader.count("setupTimeout", usual.set_up_s, least=1),
        online_s=reader.count("onlineTimeout", usual.online_s, least=1),
        destroy_s=reader.count("destroyTimeout", usual.destroy_s, least=1),
    )
