"""The lines that --access-log writes, and the file that they are written to."""

from pathlib import Path

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.services.proxy.server.access_log import AccessLog, line, written

NOW_MS = WallMs(1767898560123)


def now_ms() -> WallMs:
    return NOW_MS


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        pytest.param(b"/info", "/info", id="no query"),
        pytest.param(b"/info?token=s3cret", "/info?token=***", id="a token"),
        pytest.param(
            b"/info?line=1&token=s3cret&token=other&x", "/info?line=1&token=***&token=***&x", id="among others"
        ),
        pytest.param(b"/info?t%6Fken=s3cret", "/info?t%6Fken=***", id="a token in disguise"),
        pytest.param(b"/\xff\x1b", "/\\xff\x1b", id="no ASCII"),
    ],
)
def test_a_line_says_when_from_where_and_for_what_and_no_token(target: bytes, shown: str):
    assert line("192.0.2.7", target, NOW_MS) == f"2026-01-08T18:56:00.123Z [192.0.2.7] {shown}\n"


def test_the_file_begins_anew_when_it_is_full_or_was_moved(tmp_path: Path):
    path = tmp_path / "access.log"
    log = AccessLog(str(path), now_ms, limit_bytes=60)
    for number in range(3):
        log("a", b"/%d" % number)
    assert (path.read_text()[-3:], (tmp_path / "access.log.1").read_text()[-3:]) == ("/2\n", "/1\n")
    path.rename(tmp_path / "moved")
    log("a", b"/3")
    assert path.read_text().endswith("[a] /3\n")
    assert path.stat().st_mode & 0o777 == 0o600
    log.close()


def test_a_file_that_cannot_be_written_is_said_at_the_start(tmp_path: Path):
    with pytest.raises(Refused, match="cannot write to --access-log"), written(str(tmp_path / "no" / "log"), now_ms):
        pass
    with written("", now_ms) as nothing:
        assert nothing is None
