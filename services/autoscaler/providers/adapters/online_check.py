"""Whether a provider accepts what the file names: keys, image, regions and sizes are tried at its API.

The start asks for it and waits for no more than some seconds: a cloud that does not answer must not keep anybody from destroying what
exists. Then it is tried beside the work until there is an answer. What is not accepted is a line of the log each, and stands where
operators look. By API the start ends with that, where nothing could be rented with the file; beside docker-machine it does not, since
docker-machine may know better, nor beside another provider of the file that can be had. Then this one is asked again, too.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, Protocol, Self

import structlog

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.process.loops import background
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.providers.adapters.booted import HOPELESS
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue, CheckOutcome, FileFindings, compared
from clusterodm.services.autoscaler.providers.ports import Provider

log = structlog.get_logger()

START_LIMIT_S: Final = 10.0
"""A start waits no longer for an answer."""
AGAIN_S: Final = 60.0
PASSING: Final = (Trouble.RETRYABLE, Trouble.UNKNOWN_OUTCOME)


def said(outcome: CheckOutcome) -> None:
    """Write down what came of it."""
    for mistake in outcome.findings.mistakes:
        log.warning("asr_file.not_accepted", reason=mistake)
    if not outcome.answered:
        log.warning("provider.not_reached", reason=outcome.reason)
    elif not outcome.findings.mistakes:
        log.info("asr_file.accepted")


class Checkable(Protocol):
    """What is asked. Every call raises ProviderFailed."""

    async def ask(self) -> None:
        """Ask for something that needs the keys, and for what the file names."""

    async def catalogue(self) -> Catalogue | None:
        """Say what there is; None: it does not say."""


class OnlineCheck:
    """The check of one file."""

    def __init__(
        self,
        provider: Checkable,
        configuration: Configuration,
        *,
        say: Callable[[CheckOutcome], None] = said,
    ) -> None:
        self._say = say
        self._provider = provider
        self._name = configuration.provider
        self._limits = configuration.limits
        self.outcome = CheckOutcome()

    async def once(self, limit_s: float | None = None) -> CheckOutcome:
        """Try it once, for so long at most; what came of it. It is said when it is something else than before."""
        try:
            async with asyncio.timeout(limit_s):
                found = await self._asked()
        except TimeoutError:
            found = CheckOutcome(reason=f"{self._name} has not answered in {limit_s:g} s")
        if found != self.outcome:
            self._say(found)
        self.outcome = found
        return found

    async def until_answered(self) -> None:
        """Try it again and again until something can be rented, or at least there is an answer, and then wait for ever, as a loop does."""
        while not self.outcome.answered or self.outcome.findings.hopeless:
            if self.outcome != CheckOutcome():
                await asyncio.sleep(AGAIN_S)
            await self.once()
        await asyncio.Event().wait()

    async def _asked(self) -> CheckOutcome:
        try:
            await self._provider.ask()
        except ProviderFailed as error:
            return failed(error, error.message, hopeless=error.trouble in HOPELESS)
        try:
            catalogue = await self._provider.catalogue()
        except ProviderFailed as error:  # a key may be good for machines and not for this
            return failed(error, f"regions and sizes could not be tried: {error.message}", hopeless=False)
        if catalogue is None:
            return CheckOutcome(answered=True)
        return CheckOutcome(answered=True, findings=compared(self._name, self._limits, catalogue))


class OnlineCheckedProvider:
    """A Provider that tries its file at the API; all else is what it was.

    By API (`decides`) the start waits for the answer, within limits, and may end with it; else it is tried beside the work.
    """

    def __init__(self, provider: Provider, online: OnlineCheck, *, decides: bool) -> None:
        self._provider = provider
        self._online = online
        self._decides = decides
        self._stack = AsyncExitStack()
        self.create = provider.create
        self.set_up = provider.set_up
        self.inspect = provider.inspect
        self.list = provider.list
        self.destroy = provider.destroy
        self.discard = provider.discard
        self.command = provider.command

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def file_check(self) -> CheckOutcome:
        """What has come of it until now."""
        return self._online.outcome

    async def check(self) -> None:
        """See ports.Provider; what has not answered by then is tried beside the work."""
        if self._decides:
            await self._online.once(START_LIMIT_S)
        else:
            await self._provider.check()
        await self._stack.enter_async_context(background(self._online.until_answered, "check the file"))
        findings = self._online.outcome.findings
        if self._decides and findings.hopeless:  # beside others it is asked on: a key is put right without a start
            raise Refused("\n".join(findings.mistakes))


def failed(error: ProviderFailed, sentence: str, *, hopeless: bool) -> CheckOutcome:
    """Say what a failure means for the file."""
    if error.trouble in PASSING:
        return CheckOutcome(reason=sentence)
    return CheckOutcome(answered=True, findings=FileFindings(mistakes=(sentence,), hopeless=hopeless))
