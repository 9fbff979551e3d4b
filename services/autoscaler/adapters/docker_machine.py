"""`docker-machine`: the original's way to rent machines. The program's words stop here.

What it does badly is made good here: secrets go in by environment and standard input, never by words of a command; a
creation that outlives us is waited for by a lock; `rm` is called without `-f`, because with it a machine that the provider
did not remove is forgotten all the same, and costs for ever.
"""

import json
import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import structlog

from libs.common.errors import ProviderFailed, Refused, Trouble
from libs.common.model import MachineId
from services.autoscaler.adapters.programs import NOT_FOUND, Ended, held, run_program
from services.autoscaler.core.configuration import Configuration
from services.autoscaler.core.driver_flags import Resolved, create_words, environment
from services.autoscaler.core.orders import Found, Order
from services.autoscaler.core.secrets import Secret, masked
from services.autoscaler.core.setup_script import set_up_script

log = structlog.get_logger()

PROGRAM: Final = "docker-machine"
ABSENT: Final = "does not exist"
LISTED: Final = "{{.Name}}|{{.State}}|{{.Error}}"
RUNNING: Final = "Running"
VANISHED: Final = r"\b404\b|not ?found|could not be found|does ?n.t exist"
"""How drivers say that the provider has no such machine (any more)."""
NOT_THERE: Final = "Docker-machine not found in PATH. Please install docker-machine if you want to use the autoscaler."
BROKEN: Final = "Docker-machine does not seem to work. Please make sure docker-machine is working."
SIGNS: Final = (
    (Trouble.UNAUTHORISED, r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|AuthFailure|unable to authenticate|credentials"),
    (
        Trouble.OUT_OF_CAPACITY,
        r"capacity|quota|limit ?exceeded|droplet limit|resource_unavailable|sold.?out|not available|no.*stock",
    ),
    (Trouble.REFUSED, r"\b422\b|not defined|invalid|unknown|usage|requires|not found"),
)
"""What a driver's last words mean, the first that fits; anything else may work the next time."""


class DockerMachine:
    """A Provider over the program `docker-machine`; ports.Provider says what each method promises."""

    def __init__(
        self,
        configuration: Configuration,
        folder: Path,
        resolve: Callable[[Order], Awaitable[Resolved]],
        program: str = PROGRAM,
    ) -> None:
        self._configuration = configuration
        self._folder = folder
        self._resolve = resolve
        self._program = program
        self._as_root = ["sudo", "bash", "-s"] if configuration.provider == "aws" else ["bash", "-s"]

    def __repr__(self) -> str:
        """Show the driver."""
        return f"DockerMachine({self._configuration.provider})"

    async def check(self) -> None:
        """Look for the program."""
        ended = await run_program([self._program, "--help"])
        if ended.code == NOT_FOUND:
            raise Refused(NOT_THERE)
        if ended.code:
            raise Refused(BROKEN)
        log.info("Found docker-machine executable")

    async def create(self, order: Order) -> Found:
        """Create it; see ports.Provider."""
        resolved = await self._resolve(order)
        async with self._lock(order.name) as lock:
            if await self._inspected(order.name):
                return await self._go_on(order)
            words = create_words(self._configuration, order, resolved)
            ended = await self._run(order, words, keep_open=lock)
            if ended.code == 0:
                return await self._found(order.name)
            raise await self._undone(order, ended)

    async def set_up(self, order: Order, found: Found) -> Found:
        """Start the node over SSH; see ports.Provider."""
        script = set_up_script(order.launch)
        ended = await self._run(order, ["ssh", order.name, *self._as_root], given=script)
        if ended.code:
            raise ProviderFailed(f"it could not be set up: {self._clean(order, ended.last_words)}")
        del found
        return await self._found(order.name)

    async def inspect(self, name: MachineId) -> Found | None:
        """Look one up; see ports.Provider. `inspect` reads a file only, `status` asks the provider."""
        known = await self._inspected(name)
        if known is None:
            return None
        ended = await run_program([self._program, "status", name], environment=self._secrets())
        if ended.code and re.search(VANISHED, ended.text, re.IGNORECASE):
            return None
        return found_in(name, known)

    async def list(self, prefix: str) -> Sequence[Found]:
        """All of ours that docker-machine knows and the provider has; see ports.Provider."""
        words = ["ls", "--filter", f"name=^{re.escape(prefix)}", "--format", LISTED]
        ended = await run_program([self._program, *words], environment=self._secrets())
        if ended.code:
            raise ProviderFailed(f"docker-machine ls: {self._masked(ended.last_words)}")
        listed = (line.split("|", 2) for line in ended.lines if line.startswith(prefix) and line.count("|") > 1)
        return [
            Found(name=MachineId(name), running=state == RUNNING)
            for name, state, error in listed
            if not re.search(VANISHED, error, re.IGNORECASE)
        ]

    async def destroy(self, name: MachineId, ref: str) -> None:
        """Remove it; see ports.Provider. A creation that still runs is waited for."""
        del ref
        async with self._lock(name):
            await self._remove(name)
        self._lock_path(name).unlink(missing_ok=True)

    async def command(self, order: Order) -> str:
        """Show the command of a creation; see ports.Provider."""
        words = create_words(self._configuration, order, await self._resolve(order))
        variables = " ".join(f"{name}=***" for name in environment(self._configuration))
        return f"{variables} {self._clean(order, shlex.join(['docker-machine', *words]))}"

    async def _go_on(self, order: Order) -> Found:
        """Take over what a call before a crash has made, if it came to its end."""
        ended = await self._run(order, ["ssh", order.name, "docker", "version"])
        if ended.code == 0:
            return await self._found(order.name)
        raise ProviderFailed("its creation was interrupted", Trouble.UNKNOWN_OUTCOME)

    async def _undone(self, order: Order, ended: Ended) -> ProviderFailed:
        """Clean up after a creation that failed, as docker-machine keeps what came of it; the failure to raise."""
        words = self._clean(order, ended.last_words)
        trouble = meaning(ended.text)
        try:
            await self._remove(order.name)
        except ProviderFailed:
            return ProviderFailed(words, Trouble.UNKNOWN_OUTCOME)
        return ProviderFailed(words, trouble)

    async def _remove(self, name: MachineId) -> None:
        ended = await run_program([self._program, "rm", "-y", name], environment=self._secrets())
        if ended.code and ABSENT not in ended.text:
            raise ProviderFailed(f"docker-machine rm: {self._masked(ended.last_words)}")

    async def _inspected(self, name: MachineId) -> dict[str, object] | None:
        ended = await run_program([self._program, "inspect", name])
        if ended.code:
            if ABSENT in ended.text:
                return None
            raise ProviderFailed(f"docker-machine inspect: {self._masked(ended.last_words)}")
        try:
            driver = json.loads(ended.text)["Driver"]
            return driver if isinstance(driver, dict) else {}
        except (ValueError, KeyError, TypeError):
            raise ProviderFailed("docker-machine inspect said nonsense") from None

    async def _found(self, name: MachineId) -> Found:
        known = await self._inspected(name)
        if known is None:
            raise ProviderFailed("docker-machine does not know it any more", Trouble.UNKNOWN_OUTCOME)
        return found_in(name, known)

    async def _run(self, order: Order, words: Sequence[str], *, given: str = "", keep_open: int | None = None) -> Ended:
        log.info("running docker-machine", machine=order.name, words=self._clean(order, shlex.join(words)))
        return await run_program(
            [self._program, *words],
            environment=self._secrets(),
            given=given,
            heard=lambda line: log.info("docker-machine", machine=order.name, line=self._clean(order, line)),
            keep_open=keep_open,
        )

    def _secrets(self) -> dict[str, str]:
        return {name: secret.reveal() for name, secret in environment(self._configuration).items()}

    def _masked(self, text: str) -> str:
        return masked(text, self._configuration.secrets)

    def _clean(self, order: Order, text: str) -> str:
        launch = order.launch
        own = (
            launch.token,
            launch.webhook_url,
            launch.lease_url,
            Secret(launch.webhook_url.reveal().partition("=")[2]),
        )
        return masked(text, (*self._configuration.secrets, *own))

    def _lock_path(self, name: MachineId) -> Path:
        return self._folder / f"{name}.lock"

    def _lock(self, name: MachineId) -> AbstractAsyncContextManager[int]:
        return held(self._lock_path(name), kill_after_s=2.0 * self._configuration.patience.create_s)


def found_in(name: MachineId, driver: dict[str, object]) -> Found:
    """Read what `inspect` says of the driver."""
    address = driver.get("IPAddress")
    return Found(name=name, address=address if isinstance(address, str) else "")


def meaning(text: str) -> Trouble:
    """Judge a failed creation by what it said."""
    for trouble, sign in SIGNS:
        if re.search(sign, text, re.IGNORECASE):
            return trouble
    return Trouble.RETRYABLE
