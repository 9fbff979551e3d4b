"""Wires the admin service, and does nothing else."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import structlog

from clusterodm.libs.common.bus.bus import connected
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.health.health import CHECK_EVERY_S, Health, NeededServices
from clusterodm.libs.common.health.settings_in_force import settings_in_force
from clusterodm.libs.common.health.vitals import measured, metrics_listener
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.http_io.serving import web_server
from clusterodm.libs.common.messages.health import AUTOSCALER_HEALTH, SCHEDULER_HEALTH
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import run
from clusterodm.libs.common.process.loops import background, every
from clusterodm.libs.common.process.watchdog import notify_ready, with_watchdog
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.settings import parse
from clusterodm.libs.common.telemetry.log import begin
from clusterodm.services.admin.access.passwords import BadPassword, Passwords, check
from clusterodm.services.admin.access.roles import role_rules
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.settings import AdminSettings
from clusterodm.services.admin.signin.handlers import IdentityProvider, SignIns, failures_counted
from clusterodm.services.admin.telnet.api import telnet_server
from clusterodm.services.admin.telnet.core.admission import SessionLimits
from clusterodm.services.admin.tenants.handlers import TokensStore
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.guard import web_app
from clusterodm.services.admin.web.core.visitors import host_names

SERVICE: Final = "admin"
PROG: Final = f"clusterodm {SERVICE}"

log = structlog.get_logger()


def main(argv: Sequence[str]) -> int:
    """Run the admin service until it is told to stop; the exit code."""
    settings = parse(AdminSettings, argv, PROG)
    begin(SERVICE, settings)
    return run(with_watchdog(serve(settings)), PROG)


async def serve(settings: AdminSettings) -> None:
    """Wire the admin service and serve until cancelled."""
    log_access(settings)
    logins, passwords = LoginThrottle(), passwords_of(settings)
    async with AsyncExitStack() as opened:
        telnet, web = (
            opened.enter_context(listen(settings.admin_address, port, flag)) if port else None
            for port, flag in (
                (settings.admin_cli_port, "--admin-cli-port"),
                (settings.admin_web_port, "--admin-web-port"),
            )
        )
        metrics_port = opened.enter_context(metrics_listener(settings))
        bus = await opened.enter_async_context(connected(settings, SERVICE))
        needed = NeededServices(bus, {"scheduler": SCHEDULER_HEALTH, "autoscaler": AUTOSCALER_HEALTH})
        health = Health(SERVICE, lambda: {"nats": bus.connected}, needed)
        await opened.enter_async_context(
            background(lambda: every(CHECK_EVERY_S, needed.check, "ask services"), "ask services")
        )
        await opened.enter_async_context(measured(bus, health, settings, metrics_port))
        await opened.enter_async_context(failures_counted(bus, logins))
        if telnet:
            limits, tokens = session_limits(settings, passwords), tokens_store(settings)
            await opened.enter_async_context(telnet_server(bus, limits, logins, telnet, tokens))
            log.info("telnet.started", port=port_of(telnet))
        if web:
            watched = Watched(bus)
            await opened.enter_async_context(watched.running())
            app = web_app(
                bus,
                passwords,
                logins,
                health,
                host_names_of(settings),
                watched,
                settings_in_force(settings),
                signins=signins_of(settings, bus, passwords, logins),
                tokens=tokens_store(settings),
                secure=settings.admin_web_url.startswith("https://"),
            )
            await opened.enter_async_context(web_server(app, web, keep_alive_s=settings.admin_web_keep_alive_timeout_s))
            log.info("web.started", port=port_of(web))
        log.info("admin.started")
        notify_ready()
        await asyncio.Event().wait()


def session_limits(settings: AdminSettings, passwords: Passwords) -> SessionLimits:
    """Say what holds for all telnet sessions."""
    return SessionLimits(
        passwords=passwords,
        sessions_count=settings.admin_cli_sessions_count,
        idle_s=settings.admin_cli_idle_s,
        login_s=settings.admin_cli_login_s,
    )


def passwords_of(settings: AdminSettings) -> Passwords:
    """Read the passwords of all roles. Raises Refused."""
    found = {role: read_password(given, path) for role, (given, path) in settings.passwords.items()}
    return Passwords({role: text for role, text in found.items() if text})


def read_password(given: Secret | None, path: str) -> str:
    """Read one: from where it is set, or from its file, whose last line end does not count. Raises Refused."""
    if not path:
        return given.reveal() if given else ""
    try:
        text = Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        check(text)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    except BadPassword as error:
        raise Refused(f"{path} {error}") from None
    if not text:
        raise Refused(f"{path} is empty: an empty password would let everybody in")
    return text


def signins_of(settings: AdminSettings, bus: Bus, passwords: Passwords, logins: LoginThrottle) -> SignIns:
    """Say how people sign in on the web. Raises Refused."""
    provider: IdentityProvider | None = None
    if settings.admin_oidc_issuer:
        from clusterodm.services.admin.signin.adapters import OidcProvider

        callback = settings.admin_web_url.rstrip("/") + "/signin/callback"
        provider = OidcProvider(
            settings.admin_oidc_issuer, settings.admin_oidc_client, settings.admin_oidc_secret, callback
        )
    return SignIns(
        bus,
        passwords,
        logins,
        provider,
        settings.admin_oidc_claim,
        role_rules(settings.admin_oidc_roles),
        settings.admin_session_h * 3600,
    )


def tokens_store(settings: AdminSettings) -> TokensStore | None:
    """Say what keeps the file of tokens, if there is one; loaded only then."""
    if not settings.tokens:
        return None
    from clusterodm.services.admin.tenants.adapters import TokensFileStore

    return TokensFileStore(Path(settings.tokens))


def host_names_of(settings: AdminSettings) -> frozenset[str]:
    """Name this computer as its operators may: its own names, and what they have set."""
    given = (
        settings.admin_web_hosts,
        socket.gethostname(),
        settings.admin_address,
        settings.admin_web_url.partition("://")[2].partition("/")[0],
    )
    return frozenset().union(*map(host_names, given))


def log_access(settings: AdminSettings) -> None:
    """Say who may steer the cluster, where there is no password."""
    if settings.asks_who or not (settings.admin_cli_port or settings.admin_web_port):
        return
    ports = {"cli_port": settings.admin_cli_port, "web_port": settings.admin_web_port}
    if is_loopback(settings.admin_address):
        log.info(
            "no admin password: only this computer is served; CLUSTERODM_ADMIN_PASS or --admin-bind opens it", **ports
        )
        return
    log.warning(
        "no admin password: anybody who reaches these ports can steer the cluster; set CLUSTERODM_ADMIN_PASS or leave out --admin-bind",
        bind=settings.admin_address,
        **ports,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
