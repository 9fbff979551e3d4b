"""The lines that --access-log writes, and the file that they are written to."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.services.proxy.server.access_log import (
    AccessLog,
    AnsweredRequest,
    as_json,
    combined,
    line,
    read,
    written,
)

NOW_MS = WallMs(1767898560123)


def now_ms() -> WallMs:
    return NOW_MS


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        pytest.param(b"/info", "/info", id="no query"),
        pytest.param(b"/info?token=s3cret", "/info?token=***", id="a token"),
        pytest.param(
            b"/output?line=-1&with_output=20", "/output?line=-1&with_output=20", id="what is known to be none"
        ),
        pytest.param(b"/info?", "/info?", id="an empty query"),
        pytest.param(b"/info?line=1&token=s3cret&token=other", "/info?line=1&token=***&token=***", id="among others"),
        pytest.param(b"/info?t%6Fken=s3cret", "/info?t%6Fken=***", id="a token in disguise"),
        pytest.param(b"/info?TOKEN=s3cret", "/info?TOKEN=***", id="in capitals"),
        pytest.param(b"/info?x=1;token=s3cret", "/info?x=***", id="after a semicolon"),
        pytest.param(b"/info?line=1;token=s3cret", "/info?line=***", id="after a semicolon, and a number"),
        pytest.param(b"/info?tokne=s3cret", "/info?tokne=***", id="mistyped"),
        pytest.param(b"/info?access_token=s3cret", "/info?access_token=***", id="as others call it"),
        pytest.param(b"/info?s3cret", "/info?***", id="without a name"),
        pytest.param(b"/info?s3cret=", "/info?***", id="as a name"),
        pytest.param(b"/info?token:s3cret", "/info?***", id="another sign"),
        pytest.param(b"/info?token%3Ds3cret", "/info?***", id="an escaped sign"),
        pytest.param(b"/info?token%3Ds3cret=1", "/info?***", id="an escaped sign in a name"),
        pytest.param(b"/info?token=a?token=s3cret", "/info?token=***", id="two questions"),
        pytest.param(b"/info&token=s3cret", "/info***", id="no question mark"),
        pytest.param(b"/info;token=s3cret?line=1", "/info***?line=1", id="a path with a parameter"),
        pytest.param(b"/info%3Ftoken=s3cret", "/info***", id="an escaped question mark"),
        pytest.param(b"/\xff\x1b", "/\\xff\x1b", id="no ASCII"),
    ],
)
def test_a_line_says_when_from_where_and_for_what_and_no_token(target: bytes, shown: str):
    assert line("192.0.2.7", target, NOW_MS) == f"2026-01-08T18:56:00.123Z [192.0.2.7] {shown}\n"


def test_the_file_begins_anew_when_it_is_full_or_was_moved(tmp_path: Path):
    path = tmp_path / "access.log"
    log = AccessLog(str(path), now_ms, limit_bytes=60)
    for number in range(3):
        log.heard("a", b"/%d" % number)
    assert (path.read_text()[-3:], (tmp_path / "access.log.1").read_text()[-3:]) == ("/2\n", "/1\n")
    path.rename(tmp_path / "moved")
    log.heard("a", b"/3")
    assert path.read_text().endswith("[a] /3\n")
    assert path.stat().st_mode & 0o777 == 0o600
    log.close()


def test_a_full_file_that_cannot_be_moved_grows_on(tmp_path: Path):
    path, former = tmp_path / "access.log", tmp_path / "access.log.1"
    (former / "in the way").mkdir(parents=True)
    with capture_logs() as said:
        log = AccessLog(str(path), now_ms, limit_bytes=100)
        for number in range(10):
            log.heard("a", b"/%d" % number)
    assert [line[-2] for line in path.read_text().splitlines(keepends=True)] == list("0123456789")
    assert [each["event"] for each in said] == ["access_log.not_moved"] * 2, "when it is full, and at twice that size"
    (former / "in the way").rmdir()
    former.rmdir()
    for number in range(10):
        log.heard("a", b"/%d" % number)
    log.close()
    assert former.exists()
    assert len(path.read_text()) < 200


def test_a_pipe_in_the_place_of_the_file_holds_up_nobody(tmp_path: Path):
    path = tmp_path / "access.log"
    log = AccessLog(str(path), now_ms)
    path.unlink()
    os.mkfifo(path)
    log.answered(answered())
    path.unlink()
    log.answered(answered())
    log.close()
    assert len(path.read_text().splitlines()) == 1


def test_a_file_that_cannot_be_written_is_said_at_the_start(tmp_path: Path):
    with pytest.raises(Refused, match="cannot write to --access-log"), written(str(tmp_path / "no" / "log"), now_ms):
        pass
    with written("", now_ms) as nothing:
        assert nothing is None


def answered(**changes: Any) -> AnsweredRequest:
    usual: dict[str, Any] = {
        "address": "192.0.2.7",
        "method": "GET",
        "target": b"/info?token=s3cret",
        "version": "1.1",
        "status": 200,
        "sent_bytes": 512,
        "received_bytes": 0,
        "seconds": 0.0123456789,
    }
    return AnsweredRequest(**{**usual, **changes})


@pytest.mark.parametrize(
    ("request_", "shown"),
    [
        pytest.param(answered(), '- - [08/Jan/2026:18:56:00 +0000] "GET /info?token=*** HTTP/1.1" 200 512 "-" "-"', id="plain"),
        pytest.param(
            answered(tenant="acme", agent=b"PyODM/1.5", referer=b"http://u:s3cret@host/?Access=s3cret"),
            '- acme [08/Jan/2026:18:56:00 +0000] "GET /info?token=*** HTTP/1.1" 200 512 "http://***@host/?Access=***" "PyODM/1.5"',
            id="all that is known",
        ),
        pytest.param(
            answered(status=0, sent_bytes=0),
            '- - [08/Jan/2026:18:56:00 +0000] "GET /info?token=*** HTTP/1.1" 444 0 "-" "-"',
            id="closed without an answer",
        ),
        pytest.param(
            answered(target=b"/a", agent=b'x" 200 1 "\\\x1b[2J\n\xe4'),
            r'- - [08/Jan/2026:18:56:00 +0000] "GET /a HTTP/1.1" 200 512 "-" "x\" 200 1 \"\\\x1b[2J\x0a\xe4"',
            id="what would be fields and lines of its own",
        ),
    ],
)  # fmt: skip
def test_a_combined_line_is_as_web_servers_write_it(request_: AnsweredRequest, shown: str):
    assert combined(request_, NOW_MS) == f"192.0.2.7 {shown}\n"


def test_a_json_line_says_what_came_of_a_request_and_no_token():
    said = json.loads(as_json(answered(tenant="acme", agent=b"\xff", cause="c1"), NOW_MS))
    assert said == {
        "time": "2026-01-08T18:56:00.123Z",
        "address": "192.0.2.7",
        "tenant": "acme",
        "method": "GET",
        "target": "/info?token=***",
        "protocol": "HTTP/1.1",
        "status": 200,
        "sent_bytes": 512,
        "received_bytes": 0,
        "duration_s": 0.012346,
        "referer": "",
        "user_agent": "\xff",
        "cause": "c1",
    }


def test_a_plain_request_is_read_from_its_bytes():
    head = b"GET /task/1/info?token=s3cret HTTP/1.1\r\nHost: x\r\nUser-Agent: PyODM\r\n\r\n"
    assert read("192.0.2.7", head, 7, 0.5) == answered(
        target=b"/task/1/info?token=s3cret", sent_bytes=7, seconds=0.5, agent=b"PyODM"
    )


def test_of_an_upload_that_is_read_from_its_bytes_the_body_is_counted_and_its_tenant_named():
    data = b"POST /task/new/upload/1?token=s3cret HTTP/1.1\r\nHost: x\r\n\r\n--b\r\n\r\nphoto"
    assert read("192.0.2.7", data, 7, 0.5, "acme") == answered(
        method="POST",
        target=b"/task/new/upload/1?token=s3cret",
        sent_bytes=7,
        received_bytes=12,
        seconds=0.5,
        tenant="acme",
    )


@pytest.mark.parametrize(("form", "begin"), [("combined", "192.0.2.7 - "), ("json", "{")])
def test_the_file_is_in_the_form_that_was_asked_for(tmp_path: Path, form: Any, begin: str):
    path = tmp_path / "access.log"
    with written(str(path), now_ms, form) as log:
        assert log is not None
        log.answered(answered())
    assert path.read_text().startswith(begin)
    assert "s3cret" not in path.read_text()
