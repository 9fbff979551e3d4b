"""`docker-machine`: the original's way to rent machines. The program's words stop here.

What it does badly is made good here: secrets go in by environment and standard input, never by words of a command; a
creation that outlives us is waited for by a lock; `rm` is called with `-f` only where nothing is there, because with it a
machine that the provider did not remove is forgotten all the same, and costs for ever.

An entry may have no id: `create` writes it before it calls the provider, and again only when the driver has come to its end. The
real drivers crash, or fail each time, when they are to remove such a one, and know nothing of what may have been made. So
it does not count as a machine, and is forgotten with `-f`; whether the provider has something of that name its own list
says (cross_check.py). Without that list nobody can: then a removal says so (`Removal.unseen`), as it does where there is no entry.
"""

import json
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import structlog

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.orders import Order, ProviderMachine, Removal, masked
from clusterodm.services.autoscaler.providers.adapters.docker_machine.driver import (
    BROKEN,
    LONGEST_REMOVAL_S,
    NO_DRIVER,
    NO_ENTRY,
    NO_ID,
    NO_REPORTS,
    NOT_THERE,
    OTHERWISE,
    Resolved,
    absent,
    create_words,
    environment,
    flags_in,
    has_id,
    help_words,
    id_at_provider,
    meaning,
    missing_extras,
    set_up_script,
    vanished,
)
from clusterodm.services.autoscaler.providers.adapters.programs import (
    NOT_FOUND,
    ProgramResult,
    ProgramRunner,
    held,
    run_program,
)
from clusterodm.services.autoscaler.providers.core.order_words import secrets_of

log = structlog.get_logger()

PROGRAM: Final = "docker-machine"
LISTED: Final = "{{.Name}}|{{.State}}|{{.Error}}"
RUNNING: Final = "Running"
QUERY_TIMEOUT_S: Final = 120.0


class DockerMachineProvider:
    """A Provider over the program `docker-machine`; ports.Provider says what each method promises."""

    def __init__(
        self,
        configuration: Configuration,
        folder: Path,
        resolve: Callable[[Order], Awaitable[Resolved]],
        run: ProgramRunner = run_program,
    ) -> None:
        self._configuration = configuration
        self._folder = folder
        self._resolve = resolve
        self._run_program = run
        self._as_root = ["sudo"] if configuration.provider == "aws" else []
        self._known: frozenset[str] | None = None
        """The flags that the installed driver knows; None: it has not said."""

    async def check(self) -> None:
        """Look for the program and its driver."""
        ended = await self._run_program([PROGRAM, "--help"])
        if ended.code == NOT_FOUND:
            raise Refused(NOT_THERE)
        if ended.code:
            raise Refused(BROKEN)
        log.info("Found docker-machine executable")
        await self._ask_driver()

    async def create(self, order: Order) -> ProviderMachine:
        """Create it; see ports.Provider."""
        resolved = await self._resolve(order)
        async with self._lock(order.name) as lock:
            if await self._left_before(order):
                return await self._go_on(order)
            words = create_words(self._configuration, order, resolved, self._known)
            ended = await self._run(order, words, keep_open=lock)
        if ended.code == 0:
            return await self._found(order.name)
        leaves, ref = await self._left(order.name)
        raise ProviderFailed(self._clean(order, ended.last_words), meaning(ended.text), leaves=leaves, ref=ref)

    async def set_up(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        """Start the node over SSH; see ports.Provider. A set-up that outlived us is waited for, and then found done."""
        script = set_up_script(order.launch)
        async with held(self._set_up_path(order.name), self._configuration.timeouts.set_up_s) as lock:
            words = ["ssh", order.name, *self._as_root, "bash", "-s"]
            ended = await self._run(order, words, given=script, keep_open=lock)
        if ended.code:
            raise ProviderFailed(f"it could not be set up: {self._clean(order, ended.last_words)}")
        del found
        return await self._found(order.name)

    async def inspect(self, name: MachineId, ref: str = "") -> ProviderMachine | None:
        """Look one up; see ports.Provider. `inspect` reads a file only, `status` asks the provider."""
        del ref
        known = await self._inspected(name)
        if known is None or not has_id(self._configuration.provider, known):
            return None
        return None if await self._has_vanished(name) else self._read(name, known)

    async def list(self, prefix: str) -> Sequence[ProviderMachine]:
        """All of ours that docker-machine knows and the provider has; see ports.Provider."""
        ended = await self._query("ls", "--filter", f"name=^{re.escape(prefix)}", "--format", LISTED)
        if ended.code:
            raise ProviderFailed(f"docker-machine ls: {self._masked(ended.last_words)}")
        listed = [line.split("|", 2) for line in ended.lines if line.startswith(prefix) and line.count("|") > 1]
        found = []
        for name, state, error in listed:
            if vanished(error) or (state != RUNNING and not await self._is_one(MachineId(name))):
                continue
            found.append(ProviderMachine(name=MachineId(name), running=state == RUNNING))
        return found

    async def destroy(self, name: MachineId, ref: str) -> Removal:
        """Remove it; see ports.Provider. A creation that still runs is waited for."""
        del ref
        return await self._removed(name, is_gone=False)

    async def knows(self, name: MachineId) -> bool:
        """Whether it has an entry of this name, even of a creation that has not come to its end."""
        return await self._inspected(name) is not None

    async def forget(self, name: MachineId) -> Removal:
        """Remove what is left of a machine of which the provider says that it is gone; true where the driver may have removed it only now."""
        return await self._removed(name, is_gone=True)

    async def discard(self, found: ProviderMachine) -> None:
        """Do nothing: docker-machine knows no two of one name."""
        del found

    async def command(self, order: Order) -> str:
        """Show the command of a creation; see ports.Provider."""
        words = create_words(self._configuration, order, await self._resolve(order), self._known)
        variables = " ".join(f"{name}=***" for name in environment(self._configuration))
        return f"{variables} {self._clean(order, shlex.join(['docker-machine', *words]))}"

    async def _ask_driver(self) -> None:
        """Ask the installed driver once which flags it knows. Raises Refused where it is not installed."""
        ended = await self._query(*help_words(self._configuration))
        if NO_DRIVER in ended.text:
            raise Refused(f"docker-machine: {ended.last_words} {OTHERWISE}")
        known = flags_in(ended.lines)
        if ended.code or not known:
            log.warning("docker_machine.flags_not_read", reason=self._masked(ended.last_words))
            return
        self._known = known
        if missing := missing_extras(self._configuration, known):
            log.info("docker_machine.flags_left_out", flags=missing)

    async def _left_before(self, order: Order) -> bool:
        """Whether a call before a crash has left an entry. Raises ProviderFailed, of unknown outcome where that cannot be seen."""
        try:
            return await self._inspected(order.name) is not None
        except ProviderFailed as error:
            trouble = Trouble.UNKNOWN_OUTCOME if order.asked_before else error.trouble
            raise ProviderFailed(error.message, trouble) from None

    async def _go_on(self, order: Order) -> ProviderMachine:
        """Take over what a call before a crash has made, if it came to its end."""
        ended = await self._run(order, ["ssh", order.name, *self._as_root, "docker", "version"])
        if ended.code == 0:
            return await self._found(order.name)
        raise ProviderFailed("its creation was interrupted", Trouble.UNKNOWN_OUTCOME)

    async def _left(self, name: MachineId) -> tuple[bool, str]:
        """Say whether a creation that failed may have left something (it has called the provider when there is an entry)."""
        try:
            known = await self._inspected(name)
        except ProviderFailed:
            return True, ""
        return known is not None, self._read(name, known).ref if known else ""

    async def _removed(self, name: MachineId, *, is_gone: bool) -> Removal:
        """Remove a machine. A creation that still runs is waited for; a set-up is ended, since what it sets up goes."""
        async with self._lock(name), held(self._set_up_path(name), kill_after_s=0.0):
            removal = await self._remove(name, is_gone=is_gone)
        for path in (self._lock_path(name), self._set_up_path(name)):
            path.unlink(missing_ok=True)
        return removal

    async def _remove(self, name: MachineId, *, is_gone: bool) -> Removal:
        """Remove an entry and its machine; where nothing is there, the entry alone."""
        try:
            has_id = await self._is_one(name)
        except ProviderFailed:  # then it is removed unseen
            has_id = True
        ended = await self._rm(name, "-y")
        if absent(name, ended.text):
            return Removal(was_there=False, unseen=NO_ENTRY)
        if ended.code == 0:  # some drivers remove what they have no id of, and have done nothing
            return Removal(has_id, unseen="" if has_id else NO_ID)
        words = self._masked(ended.last_words)
        if has_id and not (is_gone or (vanished(ended.text) and await self._has_vanished(name))):
            raise ProviderFailed(f"docker-machine rm: {words}")
        log.info("docker_machine.entry_removed", machine=name, reason=words)
        forced = await self._rm(name, "-y", "-f")
        if forced.code and not absent(name, forced.text):
            raise ProviderFailed(f"docker-machine rm -f: {self._masked(forced.last_words)}")
        return Removal(was_there=False, unseen="" if has_id else NO_ID)

    async def _has_vanished(self, name: MachineId) -> bool:
        """Whether the provider says of the machine itself that it has it no more: a removal may miss something else, a key or a network."""
        ended = await self._query("status", name)
        return bool(ended.code) and vanished(ended.text) and not absent(name, ended.text)

    async def _rm(self, name: MachineId, *options: str) -> ProgramResult:
        limit_s = min(LONGEST_REMOVAL_S, self._configuration.timeouts.destroy_s / 2)
        return await self._run_program([PROGRAM, "rm", *options, name], environment=self._secrets(), limit_s=limit_s)

    async def _query(self, *words: str) -> ProgramResult:
        return await self._run_program([PROGRAM, *words], environment=self._secrets(), limit_s=QUERY_TIMEOUT_S)

    async def _is_one(self, name: MachineId) -> bool:
        """Whether an entry is of a machine: the provider has given it an id."""
        known = await self._inspected(name)
        return known is not None and has_id(self._configuration.provider, known)

    def _read(self, name: MachineId, driver: Mapping[str, object]) -> ProviderMachine:
        """Read what `inspect` says of the driver."""
        address = driver.get("IPAddress")
        ref = id_at_provider(self._configuration.provider, driver)
        return ProviderMachine(name=name, ref=ref, address=address if isinstance(address, str) else "")

    async def _inspected(self, name: MachineId) -> dict[str, object] | None:
        ended = await self._query("inspect", name)
        if ended.code:
            if absent(name, ended.text):
                return None
            raise ProviderFailed(f"docker-machine inspect: {self._masked(ended.last_words)}")
        try:
            driver = json.loads(ended.text)["Driver"]
            return driver if isinstance(driver, dict) else {}
        except (ValueError, RecursionError, KeyError, TypeError):
            raise ProviderFailed("docker-machine inspect said nonsense") from None

    async def _found(self, name: MachineId) -> ProviderMachine:
        known = await self._inspected(name)
        if known is None:
            raise ProviderFailed("docker-machine does not know it any more", Trouble.UNKNOWN_OUTCOME)
        return self._read(name, known)

    async def _run(
        self, order: Order, words: Sequence[str], *, given: str = "", keep_open: int | None = None
    ) -> ProgramResult:
        log.info("docker_machine.called", machine=order.name, words=self._clean(order, shlex.join(words)))

        def heard(line: str) -> None:
            log.info("docker_machine.said", machine=order.name, line=self._clean(order, line))
            order.boot.said(line)

        return await self._run_program(
            [PROGRAM, *words],
            environment=self._secrets(),
            given=given,
            heard=heard,
            keep_open=keep_open,
        )

    def _secrets(self) -> dict[str, str]:
        return NO_REPORTS | {name: secret.reveal() for name, secret in environment(self._configuration).items()}

    def _masked(self, text: str) -> str:
        return masked(text, self._configuration.secrets)

    def _clean(self, order: Order, text: str) -> str:
        return masked(text, (*self._configuration.secrets, *secrets_of(order.launch)))

    def _lock_path(self, name: MachineId) -> Path:
        return self._folder / f"{name}.lock"

    def _set_up_path(self, name: MachineId) -> Path:
        return self._folder / f"{name}.set-up.lock"

    def _lock(self, name: MachineId) -> AbstractAsyncContextManager[int]:
        return held(self._lock_path(name), kill_after_s=2.0 * self._configuration.timeouts.create_s)
