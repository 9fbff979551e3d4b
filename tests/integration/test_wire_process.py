"""The proxy as a process of its own, on a real NATS: ports, TLS, signals, and what it says when it cannot start."""

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.http_io.listening import listen
from tests.ports import free_port
from tests.proxies import GET_INFO, parse
from tests.waiting import until

pytestmark = pytest.mark.slow


async def start(tmp_path: Path, nats_url: str, *flags: str) -> Process:
    """Start `clusterodm proxy`."""
    program = Path(sys.executable).parent / "clusterodm"
    common = ["--nats-url", nats_url, "--data-dir", str(tmp_path / "data"), "--bind", "127.0.0.1"]
    return await asyncio.create_subprocess_exec(program, "proxy", *common, *flags, stdout=PIPE, stderr=PIPE)


@asynccontextmanager
async def running(tmp_path: Path, nats_url: str, port: int, *flags: str) -> AsyncIterator[Process]:
    """Run a proxy, beside a NATS that has what the scheduler makes, until it answers, and end it afterwards."""
    async with connect(nats_url, "scheduler") as bus:
        await bus.lay_out()
    process = await start(tmp_path, nats_url, "--port", str(port), *flags)
    try:
        await until(lambda: accepts(port), timeout_s=45, what="the proxy listens")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def accepts(port: int) -> bool:
    """Whether a port answers an HTTP request with anything."""
    return bool(await exchange(port, GET_INFO))


async def exchange(port: int, request: bytes, tls: ssl.SSLContext | None = None) -> bytes:
    """Send a request on a new connection; the whole answer."""
    name = "localhost" if tls else None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    except OSError:
        return b""
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                return await reader.read()
            return b""
    finally:
        writer.close()


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Sequence[str], ssl.SSLContext]:
    """Flags that make the proxy speak TLS, and what a client needs to believe it."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    issued.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return ("--ssl-key", str(key), "--ssl-cert", str(chain)), trusting


async def test_a_proxy_without_a_scheduler_takes_uploads(tmp_path: Path, nats_url: str) -> None:
    port = free_port()
    async with running(tmp_path, nats_url, port):
        form = b"name=x"
        head = f"POST /task/new/init HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(form)}\r\n"
        answer = await exchange(port, f"{head}content-type: application/x-www-form-urlencoded\r\n\r\n".encode() + form)

        assert (parse(answer)[0], b'"uuid"' in answer) == (200, True)


async def test_tls_alone_and_beside_plain_http(
    tmp_path: Path, nats_url: str, certificates: tuple[Sequence[str], ssl.SSLContext]
) -> None:
    flags, trusting = certificates
    port, secure_port = free_port(), free_port()

    async with running(tmp_path, nats_url, port, "--secure-port", str(secure_port), *flags):
        assert parse(await exchange(port, GET_INFO))[0] == 200
        assert parse(await exchange(secure_port, GET_INFO, trusting))[0] == 200

    process = await start(tmp_path, nats_url, "--port", str(port), *flags)
    try:
        secure = await until(lambda: exchange(port, GET_INFO, trusting), timeout_s=45)
        assert parse(secure)[0] == 200
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--ssl-key", "/nowhere/key", "--ssl-cert", "/nowhere/cert"], 1, "cannot use --ssl-key /nowhere/key"),
        (["--ssl-key", "/nowhere/key"], 2, "--ssl-key and --ssl-cert go together"),
        (["--secure-port", "444"], 2, "--secure-port needs --ssl-key and --ssl-cert"),
        (["--port", "99999"], 2, "--port: input should be less than or equal to 65535"),
        (["--public-address", "example.org"], 2, "--public-address: must begin with http:// or https://"),
        (["--nats-url", "http://127.0.0.1:4222"], 2, "--nats-url: should be nats://HOST:PORT"),
        (["--min-free-disk", "5"], 2, "--min-free-disk: must be a size with its unit"),
        (["--bind", "192.0.2.1"], 1, "cannot listen on 192.0.2.1:3000"),
    ],
)
async def test_what_cannot_work_is_one_clear_line(tmp_path: Path, flags: list[str], code: int, words: str) -> None:
    process = await start(tmp_path, "nats://127.0.0.1:1", *flags)

    _, said = await asyncio.wait_for(process.communicate(), timeout=20)

    lines = [line for line in said.decode().splitlines() if line.startswith("clusterodm proxy: ")]
    assert (process.returncode, len(lines)) == (code, 1), said
    assert words in lines[0]


async def test_a_file_with_secrets_that_others_may_read_is_told_at_the_start(
    tmp_path: Path, shared_folder: Path
) -> None:
    exposed, private = shared_folder / "tokens.json", shared_folder / "key.pem"
    for path, bits in ((exposed, 0o644), (private, 0o600)):
        path.write_text("{}")
        path.chmod(bits)
    flags = ["--tokens", str(exposed), "--ssl-key", str(private), "--ssl-cert", str(private), "--bind", "192.0.2.1"]
    process = await start(tmp_path, "nats://127.0.0.1:1", *flags)

    _, said = await asyncio.wait_for(process.communicate(), timeout=20)

    told = [line for line in said.decode().splitlines() if "secret.exposed" in line]
    assert len(told) == 1, said
    assert f"flag=--tokens path={exposed}" in told[0]


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        process = await start(tmp_path, "nats://127.0.0.1:1", "--port", str(port))
        _, said = await asyncio.wait_for(process.communicate(), timeout=20)

    assert process.returncode == 1
    assert f"clusterodm proxy: cannot listen on 127.0.0.1:{port}: Address already in use" in said.decode()


async def test_sigterm_lets_a_request_in_flight_finish_and_takes_no_other(
    tmp_path: Path, nats_url: str, nats_bus: NatsBus
) -> None:
    port = free_port()
    async with running(tmp_path, nats_url, port) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        form = b"name=slow"
        head = f"POST /task/new/init HTTP/1.1\r\nhost: x\r\ncontent-length: {len(form)}\r\n"
        writer.write(f"{head}content-type: application/x-www-form-urlencoded\r\n\r\n".encode() + form[:4])
        await writer.drain()
        await asyncio.to_thread(os.kill, process.pid, signal.SIGTERM)
        await until(lambda: refuses(port))

        writer.write(form[4:])
        answer = await asyncio.wait_for(reader.read(), timeout=10)

        assert (parse(answer)[0], b'"uuid"' in answer) == (200, True)
        assert await asyncio.wait_for(process.wait(), timeout=10) == 0
        writer.close()


async def test_a_request_that_does_not_finish_holds_the_stop_up_no_longer_than_set(
    tmp_path: Path, nats_url: str
) -> None:
    port = free_port()
    async with running(tmp_path, nats_url, port, "--stop-timeout-s", "1") as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /task/new/init HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n")
        writer.write(b"content-type: application/x-www-form-urlencoded\r\n\r\n")
        await reader.readuntil(b"100 Continue\r\n\r\n")

        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.wait_for(process.communicate(), timeout=8)

        assert await reader.read() == b""
        assert process.returncode == 0
        assert b"request.cut_off" in said
        assert b"Traceback" not in said
        writer.close()


async def refuses(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


async def test_metrics_have_a_port_of_their_own(tmp_path: Path, nats_url: str) -> None:
    port, metrics_port = free_port(), free_port()
    async with running(tmp_path, nats_url, port, "--metrics-port", str(metrics_port)):
        assert b"python_info" in await exchange(metrics_port, b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"Cannot handle /metrics" in await exchange(port, GET_INFO.replace(b"/info", b"/metrics"))


async def test_while_it_drains_a_proxy_serves_and_says_that_it_will_not_for_long(tmp_path: Path, nats_url: str) -> None:
    port = free_port()
    async with running(tmp_path, nats_url, port, "--drain-s", "5") as process:
        healthz = GET_INFO.replace(b"/info", b"/healthz")
        assert process.stderr is not None
        async with asyncio.timeout(20):
            await process.stderr.readuntil(b"proxy.started")
        process.send_signal(signal.SIGTERM)

        async def unhealthy() -> bool:
            return b'"stopping":true' in await exchange(port, healthz)

        await until(unhealthy)
        assert parse(await exchange(port, healthz))[0] == 503
        assert parse(await exchange(port, GET_INFO))[0] == 200
        assert await asyncio.wait_for(process.wait(), timeout=15) == 0


# --- what a client can do before anybody asks for its token --------------------------------------------------------

STORM_BYTES = b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000
RESIDENT_LIMIT_BYTES = 100_000_000


def resident_bytes(pid: int) -> int:
    """Say how much memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def flood(port: int) -> None:
    """Send two thousand requests in one go on each of fifty connections, read nothing, and leave."""
    writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(50)]
    for writer in writers:
        writer.write(STORM_BYTES)
    assert parse(await exchange(port, GET_INFO))[0] == 200, "others are answered meanwhile"
    for writer in writers:
        writer.transport.abort()


async def test_floods_of_pipelined_requests_cost_no_memory_and_others_no_time(tmp_path: Path, nats_url: str) -> None:
    port = free_port()
    async with running(tmp_path, nats_url, port) as process:
        for _ in range(6):
            async with asyncio.timeout(10):
                await flood(port)
        assert parse(await exchange(port, GET_INFO))[0] == 200

        assert await asyncio.to_thread(resident_bytes, process.pid) < RESIDENT_LIMIT_BYTES
