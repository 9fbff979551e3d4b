"""The real docker-machine with Scaleway's driver, as far as an order: under which name the machine is asked for.

The driver speaks an API of before api.scaleway.com, of which this plays an address, a catalogue and a refusal.
"""

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.real_docker_machine import real_program

pytestmark = pytest.mark.slow

IMAGE = "5f6a0c1e-0d1c-4b2a-9d5c-7d3a2b1c0e9f"
SPACE = {"min_size": 0, "max_size": 10**11}
CATALOGUE = {
    "servers": {"GP1-XS": {"arch": "x86_64", "volumes_constraint": SPACE, "per_volume_constraint": {"l_ssd": SPACE}}}
}
NAME = "clusterodm-abc-9-xyz"


@contextmanager
def api(ordered: list[dict[str, Any]]) -> Iterator[str]:
    """Serve the API; orders are noted and refused."""

    class Answers(BaseHTTPRequestHandler):
        def log_message(self, *_what: object) -> None:
            """Say nothing of single requests."""

        def answer(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

        def do_GET(self) -> None:
            self.answer(200, CATALOGUE)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/ips":
                self.answer(201, {"ip": {"id": IMAGE, "address": "127.0.0.1"}})
                return
            ordered.append(content)
            self.answer(403, {"type": "quotas_exceeded", "message": "quota exceeded"})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, name="scaleway", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("told", [True, False], ids=["told a name", "told none"])
async def test_the_driver_calls_a_machine_as_its_own_flag_says_and_not_as_docker_machine_does(
    told: bool, tmp_path: Path
):
    real, ordered = real_program("scaleway"), list[dict[str, Any]]()
    flags = {"region": "par1", "image": IMAGE, "commercial-type": "GP1-XS", **({"name": NAME} if told else {})}
    words = [word for flag, value in flags.items() for word in (f"--scaleway-{flag}", value)]
    with api(ordered) as url:
        environment = {
            "PATH": f"{Path(real).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "MACHINE_BUGSNAG_API_TOKEN": "no-report",
            "SCW_COMPUTE_API": url,
            "SCALEWAY_TOKEN": "made-up",
            "SCALEWAY_ORGANIZATION": "made-up",
        }
        ran = await asyncio.to_thread(
            subprocess.run,
            [real, "create", "--driver", "scaleway", *words, NAME],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, "quota" in ran.stderr) == (1, True), ran
    assert [each["name"] == NAME for each in ordered] == [told]
