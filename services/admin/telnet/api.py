r"""The telnet command line, over plain TCP as it has always been (decision record: docs/decisions, telnet over plain streams).

A session is one loop: bytes -> lines (core/lines) -> one command after the other -> answer and prompt. Because a command is
answered before the next bytes are read, a client that sends faster than it reads is slowed down by TCP and by nothing in
our memory. A client that closes its sending side (`printf 'NODE LIST\n' | nc`) still gets its answers.

What a browser sends ends its session: some page may have led it here, and nobody else speaks HTTP or TLS. Before the login only LOGIN and QUIT do anything. Wrong passwords
are answered late, and later each time, per address (login); `REFUSALS` of any kind end the session, and so does more than passwords are long. How many sessions there
may be is telnet/core/admission's.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import structlog

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.hosts import bracketed, plain_address
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.telemetry.metrics import Reading, read_by
from clusterodm.libs.common.version import VERSION
from clusterodm.services.admin.access.refused import ReportedRefusals
from clusterodm.services.admin.access.roles import Principal, Role, acting, reported
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.metrics import SESSIONS
from clusterodm.services.admin.rendering.text import END, batches
from clusterodm.services.admin.signin.core import SignInFailed
from clusterodm.services.admin.telnet.core.admission import Admission, SessionLimits
from clusterodm.services.admin.telnet.core.grammar import HELP, is_http
from clusterodm.services.admin.telnet.core.lines import LONGEST_LINE_BYTES, DroppedLine, Line, LineReader, Negotiation
from clusterodm.services.admin.telnet.core.tenant_words import HELP as TENANT_HELP
from clusterodm.services.admin.telnet.handlers import answer, sign_in
from clusterodm.services.admin.tenants.handlers import TenantActs, TokensStore

log = structlog.get_logger()

READ_BYTES: Final = 4096
WRITE_BYTES: Final = 64 * 1024
"""Of output handed to the socket at a time; each waits for room."""
WRITE_WAIT_S: Final = 60.0
"""A client that takes nothing for so long is gone."""
CLOSE_WAIT_S: Final = 5.0
REFUSALS: Final = 3
BEFORE_LOGIN_BYTES: Final = (REFUSALS + 1) * LONGEST_LINE_BYTES
TLS: Final = b"\x16"
"""How a handshake begins (RFC 8446, 5.1), which may hold words of whoever led a browser here."""
FULL: Final = "Too many sessions, try again later."


class Session:
    """One connection."""

    def __init__(
        self,
        bus: Bus,
        limits: SessionLimits,
        logins: LoginThrottle,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        sessions: "Sessions",
    ) -> None:
        self._bus = bus
        self._sessions = sessions
        self._limits = limits
        self._logins = logins
        self._reader, self._writer = streams
        peer: tuple[str, int] = (self._writer.get_extra_info("peername") or ("?", 0))[:2]
        self._address, self._port = plain_address(peer[0]), peer[1]
        self._lines = LineReader()
        self._logged_in = not limits.passwords
        self._role = Role.ADMIN
        self._refusals_count = self._strange_bytes = 0
        self._last_line = ""
        self._open = self._is_new = True

    def __repr__(self) -> str:
        """Show who it is."""
        return f"Session({bracketed(self._address)}:{self._port}{'' if self._logged_in else ' not logged in'})"

    @property
    def address(self) -> str:
        """Where it comes from."""
        return self._address

    @property
    def role(self) -> Role:
        """What whoever has logged in may do."""
        return self._role

    async def run(self) -> None:
        """Greet, then answer lines until the client, a time limit or another session ends it."""
        if self._logged_in and not self._sessions.log_in(self):
            await self._send(FULL + END)
            return
        hint = "HELP for help" if self._logged_in else "LOGIN <LOGIN> to log-in"
        await self._send(
            f"Welcome {bracketed(self._address)}:{self._port} ClusterODM:{VERSION}{END}{hint}{END}QUIT to quit{END}"
        )
        await self._prompt()
        began = monotonic_s()
        while self._open and (data := await self._receive(began)):
            await self._take(data)
            await asyncio.sleep(0)  # however much it sends, others have their turn
        if self._open and (rest := self._lines.finish()):
            await self._answer(rest.text)

    async def _receive(self, began: Instant) -> bytes:
        """Wait for bytes; empty at the end of the stream or of the client's time."""
        limit_s = self._limits.idle_s or None
        if not self._logged_in:
            limit_s = max(self._limits.login_s - (monotonic_s() - began), 0)
        try:
            async with asyncio.timeout(limit_s):
                return await self._reader.read(READ_BYTES)
        except TimeoutError:
            self._open = False
            log.info("telnet.session_expired", session=repr(self), at_will=True)
            await self._send(f"{END}Timed out.{END}")
            return b""

    async def _take(self, data: bytes) -> None:
        """Answer the lines that some bytes complete."""
        self._sessions.touch(self)
        self._strange_bytes += 0 if self._logged_in else len(data)
        if self._strange_bytes > BEFORE_LOGIN_BYTES or (self._is_new and data.startswith(TLS)):
            return await self._turn_away("INVALID")
        self._is_new = False
        for item in self._lines.feed(data):
            match item:
                case Negotiation(answer):
                    await self._write(answer)
                case DroppedLine():
                    await self._answer_nothing()
                case Line(text):
                    await self._answer(text)
            if not self._open:
                break
        return None

    async def _answer_nothing(self) -> None:
        """Answer what is no line; before the login it counts as any other refusal."""
        await (self._send(f"INVALID{END}") if self._logged_in else self._refuse("INVALID"))
        if self._open:
            await self._prompt()

    async def _answer(self, line: str) -> None:
        """Answer one line, with a prompt behind it unless the session ends."""
        if is_http(line):
            log.warning("telnet.browser_refused", session=repr(self), at_will=True)
            return await self._turn_away("INVALID")
        if line.strip() == "!!":
            line = self._last_line
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "QUIT" or is_http(line):
            self._open = False
            return await self._send(f"Bye!{END}")
        if not self._logged_in:
            await (self._log_in(rest.strip()) if word.upper() == "LOGIN" else self._refuse("LOGIN first"))
        elif word.upper() == "HELP":
            await self._send("".join(text + END for text in (*HELP[:-1], *TENANT_HELP, HELP[-1])))
        else:
            acting.set(Principal(self._role.word, self._role, "telnet", self._address))
            reported.set(self._sessions.reported)
            for text in batches(await self._sessions.answer(line)):
                await self._send(text)
        if self._logged_in and word.upper() != "LOGIN":
            self._last_line = line
        return await self._prompt() if self._open else None

    async def _log_in(self, given: str) -> None:
        """Judge a password, and let in whom it opens to."""
        try:
            role = await sign_in(self._bus, self._limits.passwords, self._logins, self._address, given)
        except SignInFailed:
            return await self._turn_away("Too many attempts, try again later")
        if role is None:
            log.warning("telnet.login_failed", session=repr(self), at_will=True)
            return await self._refuse("FAIL")
        self._role = role
        if not self._sessions.log_in(self):
            return await self._turn_away(FULL)
        self._logged_in = True
        log.info("telnet.logged_in", session=repr(self))
        return await self._send(f"OK{END}HELP for help{END}")

    async def _refuse(self, reason: str) -> None:
        """Say no; end the session when that has happened too often."""
        self._refusals_count += 1
        self._open = self._refusals_count < REFUSALS
        await self._send(reason + END)

    async def _turn_away(self, reason: str) -> None:
        """Say no, and end the session."""
        self._open = False
        await self._send(reason + END)

    async def _prompt(self) -> None:
        await self._send("#> " if self._logged_in else "$> ")

    async def _send(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        for start in range(0, len(data), WRITE_BYTES):
            await self._write(data[start : start + WRITE_BYTES])

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await asyncio.sleep(0)  # others have their turn within a long answer
        async with asyncio.timeout(WRITE_WAIT_S):
            await self._writer.drain()


class Sessions:
    """All sessions of a server."""

    def __init__(self, bus: Bus, limits: SessionLimits, logins: LoginThrottle, tenants: TenantActs) -> None:
        self._bus = bus
        self._tenants = tenants
        self._limits = limits
        self._logins = logins
        self._admission: Admission[Session] = Admission(limits.sessions_count)
        self._open: dict[Session, asyncio.Task[Any]] = {}
        self.reported = ReportedRefusals()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end, which is also that of its asyncio task."""
        try:
            await self._run(Session(self._bus, self._limits, self._logins, (reader, writer), self))
            writer.close()
            async with asyncio.timeout(CLOSE_WAIT_S):
                await writer.wait_closed()
        except (OSError, asyncio.CancelledError) as error:
            log.debug("telnet.connection_lost", error=repr(error))
        finally:
            writer.transport.abort()

    async def answer(self, line: str) -> Iterable[str]:
        """Carry out a line of whoever has logged in."""
        return await answer(self._bus, self._tenants, line)

    def readings(self) -> list[Reading]:
        """Say how many there are, to who scrapes."""
        return [Reading(SESSIONS, len(self._open))]

    def log_in(self, session: Session) -> bool:
        """Whether a session that has logged in may stay."""
        may_stay, ended = self._admission.log_in(session, session.role, monotonic_s())
        self._end(ended)
        return may_stay

    def touch(self, session: Session) -> None:
        """Note that a session says something."""
        self._admission.touch(session, monotonic_s())

    async def _run(self, session: Session) -> None:
        self._open[session] = cast("asyncio.Task[Any]", asyncio.current_task())
        self._end(self._admission.connect(session, session.address, monotonic_s()))
        try:
            await session.run()
        except OSError:
            raise
        except Exception:
            log.exception("telnet.session_failed", session=repr(session), at_will=True)
        finally:
            self._admission.leave(session)
            del self._open[session]

    def _end(self, session: Session | None) -> None:
        """End a session that has to give way."""
        if session is not None and (task := self._open.get(session)):
            log.info("telnet.session_displaced", session=repr(session), at_will=True)
            task.cancel()

    async def close(self) -> None:
        """End all sessions."""
        left = list(self._open.values())
        for session in left:
            session.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def telnet_server(
    bus: Bus, limits: SessionLimits, logins: LoginThrottle, listener: socket.socket, tokens: TokensStore | None = None
) -> AsyncIterator[None]:
    """Serve a listening socket while the context is open."""
    sessions = Sessions(bus, limits, logins, TenantActs(bus, tokens))
    server = await asyncio.start_server(sessions.serve, sock=listener, limit=READ_BYTES)
    try:
        with read_by(sessions.readings):
            yield
    finally:
        server.close()
        await sessions.close()
        await server.wait_closed()
