"""Real clients and real reverse proxies in front: curl that offers HTTP/2, Java's and Go's own clients, nginx as people configure it."""

import asyncio
import os
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from tests.ports import free_port
from tests.proxies import GET_INFO, ProxyUnderTest, parse
from tests.waiting import until

pytestmark = pytest.mark.slow

JAVA = """
import java.net.URI;
import java.net.http.*;
public class Client {
    public static void main(String[] said) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int at = 0; at < 3; at++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(said[0] + "/task/new/init"))
                .header("Content-Type", "application/x-www-form-urlencoded")
                .POST(HttpRequest.BodyPublishers.ofString("name=java" + at)).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
        }
    }
}
"""
GO = """
package main

import ("bytes"; "fmt"; "io"; "net/http"; "os"; "time")

func main() {
    client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 5 * time.Second, MaxConnsPerHost: 1}}
    body := make([]byte, 1000000)
    for at := 0; at < 3; at++ {
        for _, path := range []string{"/auth/info", "/task/new/upload/aaaaaaaa-1111-4111-8111-111111111111", "/info"} {
            request, _ := http.NewRequest("POST", os.Args[1] + path, bytes.NewReader(body))
            request.Header.Set("Content-Type", "multipart/form-data; boundary=x")
            request.Header.Set("Expect", "100-continue")
            if path == "/info" { request, _ = http.NewRequest("GET", os.Args[1] + path, nil) }
            answer, err := client.Do(request)
            if err != nil { fmt.Println(path, err); continue }
            io.Copy(io.Discard, answer.Body)
            answer.Body.Close()
            fmt.Println(path, answer.StatusCode)
        }
    }
}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend clients
    bind 127.0.0.1:{port}
    default_backend cluster
backend cluster
    http-reuse always
    server one 127.0.0.1:{behind}
"""
NGINX = """
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u;
    scgi_temp_path {root}/s;
    upstream cluster {{ server 127.0.0.1:{behind}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://cluster;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
        }}
    }}
}}
"""


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test where a program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


async def output(*words: str) -> str:
    """Run a program to its end; what it prints."""
    process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=PIPE)
    said, complaints = await asyncio.wait_for(process.communicate(), timeout=60)
    assert process.returncode == 0, complaints.decode()
    return said.decode()


def configure(file: Path, template: str, behind: int, port: int) -> None:
    """Write a configuration."""
    file.parent.mkdir()
    file.write_text(template.format(root=file.parent, behind=behind, port=port))


@asynccontextmanager
async def nginx(root: Path, behind: int) -> AsyncIterator[int]:
    """Run nginx in front of a port; its own."""
    port, file = free_port(), root / "nginx.conf"
    configure(file, NGINX, behind, port)
    async with in_front(port, "nginx", "-p", str(root), "-c", str(file)):
        yield port


@asynccontextmanager
async def haproxy(root: Path, behind: int) -> AsyncIterator[int]:
    """Run HAProxy in front of a port; its own."""
    port, file = free_port(), root / "haproxy.cfg"
    configure(file, HAPROXY, behind, port)
    async with in_front(port, "haproxy", "-db", "-f", str(file)):
        yield port


@asynccontextmanager
async def in_front(port: int, *words: str) -> AsyncIterator[int]:
    """Run a proxy while the context is open."""
    process = await asyncio.create_subprocess_exec(*words)
    try:
        await until(lambda: exchange(port, GET_INFO), what=f"{words[0]} answers", timeout_s=45)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def exchange(port: int, request: bytes) -> bytes:
    """Send a request on a new connection; the whole answer, nothing where nobody listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return b""
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), timeout=20)
    finally:
        writer.close()


async def names(proxy: ProxyUnderTest, *answers: bytes | str) -> list[str | None]:
    """Say the names of the uploads that answers speak of."""
    return [proxy.spool.draft(msgspec.json.decode(answer)["uuid"]).name for answer in answers]


@needs("curl")
async def test_curl_that_offers_http2_is_served_and_its_body_is_its_body(proxy: ProxyUnderTest) -> None:
    url = f"http://127.0.0.1:{proxy.port}"
    inner = "name=curl&x=POST /task/new/init HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

    first = await output("curl", "-sS", "--http2", "-d", inner, f"{url}/task/new/init")
    info = await output("curl", "-sS", "--http2", "-w", " %{http_version}", f"{url}/info", f"{url}/info")

    assert await names(proxy, first) == ["curl"]
    assert info.count('"version"') == 2
    assert info.endswith(" 1.1")
    assert len([name for name in proxy.leftovers() if name.count("/") == 0 and "-" in name]) == 1


@needs("curl")
async def test_curl_that_offers_http2_uploads(proxy: ProxyUnderTest, tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(os.urandom(3_000_000))
    task = await proxy.init()
    url = f"http://127.0.0.1:{proxy.port}/task/new/upload/{task}"

    for lines in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]):
        said = await output("curl", "-sS", "--http2", *lines, "-F", f"images=@{photo}", url)
        assert said == '{"success":true}'


@needs("java")
async def test_javas_own_client_is_served_on_one_connection(proxy: ProxyUnderTest, tmp_path: Path) -> None:
    (tmp_path / "Client.java").write_text(JAVA)

    said = await output("java", str(tmp_path / "Client.java"), f"http://127.0.0.1:{proxy.port}")

    answers = [line.split(" ", 2) for line in said.splitlines()]
    assert [answer[:2] for answer in answers] == [["200", "HTTP_1_1"]] * 3
    assert await names(proxy, *(answer[2] for answer in answers)) == ["java0", "java1", "java2"]


@needs("go")
async def test_gos_own_client_goes_on_behind_answers_to_bodies_that_were_not_asked_for(
    proxy: ProxyUnderTest, tmp_path: Path
) -> None:
    (tmp_path / "client.go").write_text(GO)

    said = await output("go", "run", str(tmp_path / "client.go"), f"http://127.0.0.1:{proxy.port}")

    statuses = [line.rpartition(" ")[2] for line in said.splitlines()]
    assert statuses == ["200", "404", "200"] * 3


@pytest.mark.parametrize(
    "front",
    [
        pytest.param(nginx, marks=needs("nginx"), id="nginx"),
        pytest.param(haproxy, marks=needs("haproxy"), id="HAProxy"),
    ],
)
async def test_behind_a_proxy_that_forwards_upgrades_no_body_becomes_a_request(
    proxy: ProxyUnderTest, tmp_path: Path, front: Callable[[Path, int], AbstractAsyncContextManager[int]]
) -> None:
    inner = b"POST /task/new/init HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    form = b"name=outer&x=" + inner
    head = b"POST /task/new/init HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n"
    head += b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(form)
    async with front(tmp_path / "front", proxy.port) as port:
        answers = [await exchange(port, head + form) for _ in range(20)]
        infos = [await exchange(port, GET_INFO) for _ in range(20)]

    assert {parse(answer)[0] for answer in (*answers, *infos)} == {200}
    assert all(b'"version"' in answer for answer in infos)
    assert await names(proxy, *(parse(answer)[2] for answer in answers)) == ["outer"] * 20
