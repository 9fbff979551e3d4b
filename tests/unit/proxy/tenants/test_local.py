"""The file of tokens, followed as it changes."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.telemetry.log import redact
from clusterodm.libs.common.tenancy import IssuedToken, Tenant, TokensFile, digest_of, shown
from clusterodm.services.admin.tenants.adapters import write_file
from clusterodm.services.proxy.tenants.adapters.local import SAID_AGAIN_S, OneToken, TokenFile, followed


def now_ms() -> WallMs:
    return WallMs(1_000)


def file_of(*texts: str) -> TokensFile:
    """Write down tokens of one tenant."""
    issued = (IssuedToken(id=text, tenant="survey", sha256=digest_of(text)) for text in texts)
    return TokensFile(tenants=(Tenant(name="survey"),), tokens=tuple(issued))


def bound(path: Path) -> None:
    """Leave behind what a listening program leaves."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def is_known(tokens: TokenFile, text: str) -> bool:
    return tokens.known(shown(text)) is not None


async def test_a_change_of_the_file_counts_at_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_file(path, file_of("first"))
    tokens = TokenFile(path, now_ms)
    assert is_known(tokens, "first")
    write_file(path, file_of("second"))
    with capture_logs([redact]) as lines:
        await tokens.refresh()
    assert (is_known(tokens, "first"), is_known(tokens, "second")) == (False, True)
    assert [(line["event"], line["known_count"], line["tenants"]) for line in lines] == [("tokens.read", 1, 1)]


@pytest.mark.parametrize("content", [b"", b"{", b'{"tokens": [{"id": "x"}]}'], ids=["empty", "half", "a mistake"])
async def test_a_bad_file_is_told_once_and_the_one_before_goes_on_to_count(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokens.json"
    write_file(path, file_of("first"))
    tokens = TokenFile(path, now_ms)
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    with capture_logs() as lines:
        await tokens.refresh()
        await tokens.refresh()
    assert [line["event"] for line in lines] == ["tokens.refused"]
    assert is_known(tokens, "first")
    write_file(path, file_of("second"))
    await tokens.refresh()
    assert is_known(tokens, "second")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, bound], ids=["a pipe", "a directory", "a socket"])
async def test_what_is_no_file_for_a_moment_is_told_once_and_holds_up_nobody(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "tokens.json"
    write_file(path, file_of("first"))
    tokens = TokenFile(path, now_ms)
    path.unlink()
    make(path)
    with capture_logs() as lines:
        await tokens.refresh()
        await tokens.refresh()
    assert [(line["event"], line["reason"]) for line in lines] == [("tokens.refused", "it is no regular file")]
    assert is_known(tokens, "first")
    path.rename(tmp_path / "aside")
    write_file(path, file_of("second"))
    await tokens.refresh()
    assert (is_known(tokens, "first"), is_known(tokens, "second")) == (False, True)


async def test_a_file_that_goes_away_is_told_once_and_counts_on(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    write_file(path, file_of("first"))
    tokens = TokenFile(path, now_ms)
    path.unlink()
    with capture_logs() as lines:
        await tokens.refresh()
        await tokens.refresh()
    assert len(lines) == 1
    assert is_known(tokens, "first")
    write_file(path, file_of("first", "second"))
    await tokens.refresh()
    assert is_known(tokens, "second")


async def test_a_file_that_is_there_and_cannot_be_read_is_told_once_and_then_seldom(tmp_path: Path) -> None:
    """As one without permission; root, who runs tests, may read every file but those that fail themselves."""
    path, now_s = tmp_path / "tokens.json", [0.0]
    write_file(path, file_of("first"))
    tokens = TokenFile(path, now_ms, lambda: now_s[0])
    path.unlink()
    path.symlink_to("/proc/self/mem")
    with capture_logs() as lines:
        for _ in range(int(SAID_AGAIN_S) + 100):
            await tokens.refresh()
            now_s[0] += 1
    assert [(line["event"], line["count"]) for line in lines] == [
        ("tokens.refused", 1),
        ("tokens.refused", SAID_AGAIN_S),
    ]
    assert is_known(tokens, "first")
    path.unlink()
    write_file(path, file_of("second"))
    with capture_logs() as lines:
        await tokens.refresh()
    assert [line["event"] for line in lines] == ["tokens.read"], "as soon as it can be read"
    path.unlink()
    with capture_logs() as lines:
        await tokens.refresh()
    assert [line["event"] for line in lines] == ["tokens.refused"], "other trouble is told at once"


async def test_a_file_that_cannot_be_read_at_the_start_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"--tokens .*absent\.json: No such file"):
        async with followed(tmp_path / "absent.json", now_ms):
            raise AssertionError("it was opened")
    (tmp_path / "bad.json").write_text('{"tenants": [{"name": "X"}]}')
    with pytest.raises(Refused, match=r"--tokens .*bad\.json: 'X' is no name"):
        async with followed(tmp_path / "bad.json", now_ms):
            raise AssertionError("it was opened")


def test_one_token_is_its_owners_alone() -> None:
    one = OneToken("sesame")
    tenant = one.known(shown("sesame"))
    assert tenant is not None
    assert tenant.account == shown("sesame").owner
    assert one.known(shown("other")) is None


@pytest.mark.parametrize(
    ("file", "warns"),
    [
        pytest.param(TokensFile(), True, id="an empty file"),
        pytest.param(TokensFile(tenants=(Tenant(name="survey"),)), True, id="a tenant without tokens"),
        pytest.param(file_of("first"), False, id="a token"),
        pytest.param(
            TokensFile(
                tenants=(Tenant(name="survey"),),
                tokens=(IssuedToken(id="old", tenant="survey", sha256=digest_of("old"), expires_at_ms=500),),
            ),
            True,
            id="one that has expired",
        ),
    ],
)
async def test_a_file_that_lets_nobody_in_is_warned_of_at_the_start_and_when_it_changes(
    tmp_path: Path, file: TokensFile, *, warns: bool
) -> None:
    path = tmp_path / "tokens.json"
    write_file(path, file)
    with capture_logs() as lines:
        async with followed(path, now_ms):
            pass
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["tokens.none_valid"] * warns
    write_file(path, file_of("first"))
    tokens = TokenFile(path, now_ms)
    write_file(path, file)
    os.utime(path, ns=(1, 1))
    with capture_logs() as lines:
        await tokens.refresh()
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["tokens.none_valid"] * warns
