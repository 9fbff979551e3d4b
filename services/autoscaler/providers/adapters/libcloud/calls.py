"""The way to a driver of libcloud: each call in a thread with a time limit, few at a time, and what its failure means.

libcloud blocks, and a driver is for one thread at a time: there are as many drivers as calls at once. A call that takes too long is left
behind with its driver; its socket has a limit of its own. libcloud tries nothing again by itself.

Drivers take the arguments that they name and, most of them, anything else besides, which they drop without a word: a slip of the pen in `options`
and `createOptions` of the file is seen nowhere. So the names that the installed drivers know are read from signatures and from what is taken out of `kwargs`, of all classes of a driver (versions of an API have one each).
"""

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from clusterodm.libs.common.errors import ClusterError, ProviderFailed, Trouble
from clusterodm.libs.common.process.lifecycle import threaded
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.orders import masked
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import LONGEST_MESSAGE, TOO_MANY, usual_trouble
from clusterodm.services.autoscaler.providers.core.libcloud_settings import KnownArguments

CALLS_AT_ONCE_COUNT: Final = 4
LIMITS_PER_CALL: Final = 4.0
"""A driver's method may be several requests: signing in, a page after the other."""
LACK: Final = re.compile(
    r"no valid host|capacity|sold out|not available|unavailable in|insufficient|quota|limit (?:has been )?(?:exceeded|reached)"
    r"|exceeds? .*limit|reached the maximum|maximum .*(?:instances|servers)|resource_pool_exhausted|skunotavailable|server limit",
    re.IGNORECASE,
)
WRONG_KEYS: Final = re.compile(r"invalid ?cred|unauthori[sz]ed|authentication|invalid api token", re.IGNORECASE)
NOT_SENT: Final = re.compile(r"NewConnectionError|ConnectTimeout|Name or service not known|Connection refused")
NOT_FOUND: Final = 404
CLIENTS_FAULT: Final = range(400, 500)

Value = TypeVar("Value")
FROM_KEYWORDS: Final = re.compile(r"""kwargs(?:\.(?:get|pop)\(\s*|\[)["'](\w+)|["'](\w+)["'] (?:not )?in kwargs""")
NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class LibcloudCalls:
    """Some drivers of one account."""

    def __init__(self, make: Callable[[], Any], name: str, secrets: tuple[Secret, ...], answer_s: float) -> None:
        self._make = make
        self._name = name
        self._secrets = secrets
        self._limit_s = LIMITS_PER_CALL * answer_s
        self._free: list[Any] = []
        self._semaphore = asyncio.Semaphore(CALLS_AT_ONCE_COUNT)

    async def call(self, do: Callable[[Any], Value], *, creates: bool = False, missing: Any = ...) -> Value:
        """Call a driver; `missing` is the answer where there is no such thing. Raises ProviderFailed."""
        unanswered = Trouble.unanswered(creates=creates)
        async with self._semaphore:
            driver = self._free.pop() if self._free else None
            try:
                async with asyncio.timeout(self._limit_s):
                    driver, found = await threaded(lambda: self._did(driver, do), f"libcloud {self._name}")
            except TimeoutError:
                raise self._failed("no answer in time", unanswered) from None
            except ClusterError:
                raise
            except Exception as error:  # noqa: BLE001 a driver raises whatever its parts raise
                if missing is not ... and status_of(error) == NOT_FOUND:
                    return missing  # type: ignore[no-any-return]
                raise self._failed(words_of(error), meaning(error, creates=creates)) from None
            self._free.append(driver)
            return found

    def _did(self, driver: Any, do: Callable[[Any], Value]) -> tuple[Any, Value]:
        driver = driver if driver is not None else self._make()
        return driver, do(driver)

    def _failed(self, sentence: str, trouble: Trouble) -> ProviderFailed:
        return ProviderFailed(f"{self._name}: {masked(sentence, self._secrets)[:LONGEST_MESSAGE]}", trouble)


def meaning(error: Exception, *, creates: bool) -> Trouble:
    """Say what an exception of a driver means for the next try."""
    status, words = status_of(error), words_of(error)
    if status == 0 and NOT_SENT.search(words):
        return Trouble.RETRYABLE
    if type(error).__name__ == "InvalidCredsError" or (status in CLIENTS_FAULT and WRONG_KEYS.search(words)):
        return Trouble.UNAUTHORISED
    if status == TOO_MANY:
        return Trouble.RETRYABLE
    if LACK.search(words) and (status in CLIENTS_FAULT or status == 0):
        return Trouble.OUT_OF_CAPACITY
    if status in CLIENTS_FAULT or status > CLIENTS_FAULT.stop:
        return usual_trouble(status, creates=creates)
    return Trouble.unanswered(creates=creates)


def status_of(error: Exception) -> int:
    """Give the HTTP status that an exception tells of; 0: none."""
    for name in ("http_code", "code"):
        found = getattr(error, name, None)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
        if isinstance(found, str) and found.isdigit():
            return int(found)
    leading = re.match(r"\W*(\d{3})\b", str(error))
    return int(leading[1]) if leading else 0


def words_of(error: Exception) -> str:
    """Say in one line what an exception says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
