"""Three programs of the operator's as a provider: `create`, `list` and `destroy` (docs/providers-command.md).

Each is called as it stands in the configuration, without a shell, gets one JSON object on its standard input and answers
with one on its standard output; secrets go no other way. What it writes to standard error is logged line by line as it comes, secrets
masked; that of `create` is the boot log of its machine. Exit code 0 is success. Else `{"error": {"trouble", "message"}}` on standard output says what is wrong; without
it the last line of standard error does, and what a failed `create` has done is unknown.

A program that takes too long is ended with all that it has started. One that outlives us (we were killed) goes on: a lock
file, held by the program itself, makes whoever asks for the same machine next wait until it has come to its end, so that
nothing is created behind the back of a list.
"""

import asyncio
import contextlib
import json
import os
import shlex
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

import structlog

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings, StepTimeouts
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.orders import NODE_PORT, BootOutput, Order, ProviderMachine, masked
from clusterodm.services.autoscaler.providers.adapters.programs import given_file, held
from clusterodm.services.autoscaler.providers.core.cloud_init import user_data
from clusterodm.services.autoscaler.providers.core.order_words import node_configuration, node_words, pairs, secrets_of
from clusterodm.services.autoscaler.providers.ports import Vendor, VendorContext

log = structlog.get_logger()

LIST_TIMEOUT_S: Final = 60.0
CREATE: Final = "create"
LIST: Final = "list"
PIECE_BYTES: Final = 65536
LONGEST_LINE_BYTES: Final = 65536
TOO_LONG: Final = f"(a line of more than {LONGEST_LINE_BYTES} bytes)"
DESTROY: Final = "destroy"


class CommandVendor(Vendor):
    """The three programs."""

    has_spot = True
    """Machines may be rented that can be taken away at any time."""
    any_image = True
    """The programs may take a file, or a name of their own, where others take Docker's images only."""

    def __init__(
        self, cloud: CloudSettings, timeouts: StepTimeouts, folder: Path, *, list_timeout_s: float = LIST_TIMEOUT_S
    ) -> None:
        self._cloud = cloud
        self._folder = folder
        self._limits_s = {CREATE: float(timeouts.create_s), LIST: list_timeout_s, DESTROY: float(timeouts.destroy_s)}

    @staticmethod
    def read(keys: ObjectReader) -> CloudSettings:
        """Read the three programs."""
        commands = {name: keys.texts(name, lines=True) for name in ("create", "list", "destroy")}
        for name, words in commands.items():
            if not words:
                keys.wrong(name, "is missing: the program to call, or a list of it and its arguments")
        return CloudSettings(commands=commands)

    @classmethod
    def make(cls, context: VendorContext) -> Self:
        """See ports.VendorKind."""
        return cls(context.settings, context.timeouts, context.folder, list_timeout_s=2 * context.answer_s)

    async def check(self) -> None:
        """See ports.Vendor: it must be able to list."""
        await self._machines("clusterodm-")

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        _ = ref
        if self._lock(name).exists():
            async with held(self._lock(name), self._limits_s[CREATE]):
                return await self._named(name)
        return await self._named(name)

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        return [each for each in await self._machines(prefix) if each.name.startswith(prefix)]

    async def begin(self, order: Order) -> ProviderMachine:
        async with held(self._lock(order.name), self._limits_s[CREATE]) as lock:
            for found in await self._named(order.name):
                return found
            content = order_of(order, self._cloud.tags)
            answer = await self._run(CREATE, content, secrets_of(order.launch), lock, order.boot)
        return self._read(CREATE, {"name": str(order.name), **answer})

    async def remove(self, found: ProviderMachine) -> None:
        await self._run(DESTROY, {"name": str(found.name), "ref": found.ref})
        self._lock(found.name).unlink(missing_ok=True)

    def described(self, order: Order) -> str:
        text = json.dumps(order_of(order, self._cloud.tags), ensure_ascii=False)
        words = f"{shlex.join(self._cloud.commands.get(CREATE, ()))} <<< {shlex.quote(text)}"
        return masked(words, secrets_of(order.launch))

    def _lock(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    async def _named(self, name: MachineId) -> list[ProviderMachine]:
        return [each for each in await self._machines(name) if each.name == name]

    async def _machines(self, prefix: str) -> list[ProviderMachine]:
        answer = await self._run(LIST, {"prefix": prefix})
        machines = answer.get("machines")
        if not isinstance(machines, list):
            raise ProviderFailed(f"{LIST}: the answer has no list of machines", Trouble.RETRYABLE)
        return [self._read(LIST, each) for each in machines]

    def _read(self, verb: str, content: Any) -> ProviderMachine:
        try:
            return found_of(content)
        except (KeyError, TypeError, ValueError) as error:
            trouble = Trouble.unanswered(creates=verb == CREATE)
            raise ProviderFailed(f"{verb}: the answer is wrong at {error}", trouble) from None

    async def _run(
        self,
        verb: str,
        content: Mapping[str, Any],
        secrets: Sequence[Secret] = (),
        lock: int | None = None,
        boot: BootOutput | None = None,
    ) -> dict[str, Any]:
        lines: deque[str] = deque(maxlen=1)

        def heard(line: str) -> None:
            lines.append(masked(line, secrets))
            log.info("command.said", command=verb, line=lines[-1])
            if boot is not None:
                boot.said(line)

        code, output = await self._called(verb, json.dumps(content).encode(), lock, heard)
        answer = decoded(output)
        if code == 0 and answer is not None:
            return answer
        usual = Trouble.unanswered(creates=verb == CREATE)
        last = lines[-1] if lines else "no word of why"
        trouble, message = trouble_and_message(answer, usual, f"exit code {code}: {last}" if code else "not JSON")
        raise ProviderFailed(f"{verb}: {masked(message, secrets)}", trouble)

    async def _called(
        self, verb: str, given: bytes, lock: int | None, heard: Callable[[str], None]
    ) -> tuple[int, bytes]:
        """Call one to its end; `heard` is called with every line of its standard error as it comes."""
        with given_file(given) as asked:
            process = await self._started(verb, asked, lock)
        if lock is not None:
            os.pwrite(lock, f"{process.pid}\n".encode(), 0)
        try:
            async with asyncio.timeout(self._limits_s[verb]):
                output, _ = await asyncio.gather(all_of(process.stdout), each_line(process.stderr, heard))
                await process.wait()
        except TimeoutError:
            trouble = Trouble.unanswered(creates=verb == CREATE)
            raise ProviderFailed(f"{verb}: no answer in {self._limits_s[verb]:g} s", trouble) from None
        finally:
            await ended(process)
        return process.returncode or 0, output

    async def _started(self, verb: str, asked: IO[bytes], lock: int | None) -> asyncio.subprocess.Process:
        words = self._cloud.commands[verb]
        pipe = asyncio.subprocess.PIPE
        kept = () if lock is None else (lock,)
        try:
            return await asyncio.create_subprocess_exec(
                *words, stdin=asked, stdout=pipe, stderr=pipe, start_new_session=True, pass_fds=kept
            )
        except OSError as error:
            raise ProviderFailed(f"{verb}: {words[0]}: {error.strerror}", Trouble.REFUSED) from None


async def all_of(stream: asyncio.StreamReader | None) -> bytes:
    """Read a stream to its end."""
    return b"" if stream is None else await stream.read()


async def each_line(stream: asyncio.StreamReader | None, heard: Callable[[str], None]) -> None:
    """Read a stream to its end, line by line as they come. Of one that is too long nothing is said: its end could begin within a secret."""
    rest, length = b"", 0
    while stream is not None and (read := await stream.read(PIECE_BYTES)):
        *whole, rest = (rest + read).split(b"\n")
        for line in whole:
            heard(TOO_LONG if length + len(line) > LONGEST_LINE_BYTES else line.decode(errors="replace").rstrip("\r"))
            length = 0
        if length + len(rest) > LONGEST_LINE_BYTES:
            length, rest = LONGEST_LINE_BYTES + 1, b""
    if rest or length:
        heard(TOO_LONG if length else rest.decode(errors="replace").rstrip("\r"))


async def ended(process: asyncio.subprocess.Process) -> None:
    """End a program and all that it has started, if it still runs."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def decoded(output: bytes) -> dict[str, Any] | None:
    """Read an answer; nothing at all is an empty one, what is no JSON object is None."""
    if not output.strip():
        return {}
    try:
        content = json.loads(output)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def order_of(order: Order, configured: Sequence[str]) -> dict[str, Any]:
    """Say what is to be created. It holds the node's secrets."""
    launch, size = order.launch, order.offer.size
    return {
        "name": str(order.name),
        "region": order.offer.region,
        "size": size.slug,
        "max_images": size.max_images,
        "memory_bytes": size.memory_bytes,
        "tags": pairs(configured, order.tags),
        "image": launch.image,
        "gpu": launch.gpu,
        "spot": size.spot,
        "data_mount": launch.data_mount,
        "node_arguments": list(node_words(launch)),
        "node_configuration": node_configuration(launch),
        "lease": {"url": launch.lease_url.reveal(), "seconds": launch.lease_s},
        "user_data": user_data(launch),
    }


def found_of(content: Mapping[str, Any]) -> ProviderMachine:
    """Read a machine. Raises KeyError, TypeError or ValueError."""
    return ProviderMachine(
        name=MachineId(str(content["name"])),
        ref=str(content.get("ref") or ""),
        address=str(content.get("address") or ""),
        port=int(content.get("port") or NODE_PORT),
        running=bool(content.get("running", True)),
        leaving=str(content.get("leaving") or ""),
        size=str(content.get("size") or ""),
        region=str(content.get("region") or ""),
        created_at_ms=int(content.get("created_at_ms") or 0),
    )


def trouble_and_message(answer: Mapping[str, Any] | None, usual: Trouble, message: str) -> tuple[Trouble, str]:
    """Read what a program says of its failure; what it does not say is as usual."""
    error = (answer or {}).get("error")
    if not isinstance(error, Mapping):
        return usual, message
    told = str(error.get("trouble") or "")
    trouble = Trouble(told) if told in set(Trouble) else usual
    return trouble, str(error.get("message") or message)
