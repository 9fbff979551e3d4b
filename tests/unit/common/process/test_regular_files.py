"""Files that are read again while a process runs."""

import os
from pathlib import Path

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.regular_files import read_regular


def test_a_file_is_read_no_further_than_one_byte_beyond_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    assert read_regular(path, 3) == b"1234"


def test_a_pipe_a_device_and_a_directory_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull), tmp_path):
        with pytest.raises(Refused, match="it is no regular file"):
            read_regular(path, 5)


def test_what_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "absent", 5)


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no file has such a name"):
        read_regular(tmp_path / "a\0b", 10)
