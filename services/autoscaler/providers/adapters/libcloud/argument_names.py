"""Which arguments a driver of the installed libcloud knows, for `options` and `createOptions` of the file.

Drivers take what they name and, most of them, anything else besides, which they drop without a word: a slip of the pen is seen nowhere.
Their names are read from signatures and from what is taken out of `kwargs`, of all classes of a driver (versions of an API have one each).
"""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from clusterodm.services.autoscaler.providers.core.libcloud_settings import KnownArguments

FROM_KEYWORDS: Final = re.compile(r"""kwargs(?:\.(?:get|pop)\(\s*|\[)["'](\w+)|["'](\w+)["'] (?:not )?in kwargs""")
NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def known_arguments(driver: str) -> KnownArguments:
    """Read the names that a driver's making and its `create_node` know; empty sets where libcloud does not tell."""
    from libcloud.compute.providers import get_driver

    try:
        found = get_driver(driver)
    except (AttributeError, ImportError):
        return KnownArguments()
    return KnownArguments(
        frozenset(names(found, lambda each: each.__dict__.get("__init__"))),
        frozenset(names(found, lambda each: each.__dict__.get("create_node"))),
    )


def names(driver: type, method: Callable[[type], Any]) -> Iterator[str]:
    """Give what a method names, in a class, those above it and those below."""
    for each in {above for below in below_of(driver) for above in below.__mro__}:
        function = method(each)
        if inspect.isfunction(function):
            yield from (name for name, one in inspect.signature(function).parameters.items() if one.kind in NAMED)
            for found in FROM_KEYWORDS.finditer(inspect.getsource(function)):
                yield found[1] or found[2]


def below_of(driver: type) -> Iterator[type]:
    """Give a class and all that are made of it."""
    yield driver
    below: list[type] = driver.__subclasses__()
    for each in below:
        yield from below_of(each)
