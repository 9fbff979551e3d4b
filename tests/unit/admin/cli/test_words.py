"""What is said of a command line with a mistake in it."""

from collections.abc import Iterator

import pytest
import structlog

from clusterodm.services.admin.cli.api.program import main

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """Take back what `main` sets up for its process: it writes to where this test's output went."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize(
    "words",
    [
        ["H", "3000", "--token", SECRET],
        ["H", "3000", f"--token={SECRET}"],
        ["H", "--token", SECRET, "3000"],
        ["--token", SECRET, "H", "3000"],
        ["H", "3000", "-t", SECRET],
        ["H", "3000", f"-t{SECRET}"],
        ["H", "3000", "token", SECRET],
        ["H", "3000", "--token-fil", SECRET],
    ],
    ids=" ".join,
)
def test_no_value_is_repeated(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node", "add", *words]) == 2
    said = capsys.readouterr()
    assert SECRET not in said.err + said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["node", "add", "H", "1", "--token", "x"], "unknown flag --token (did you mean '--token-file'?)"),
        (["node", "list", "--jsn"], "unknown flag --jsn (did you mean '--json'?)"),
        (["node", "list", "--js"], "unknown flag --js"),
        (["node", "list", "--token-file=x"], "--token-file does not belong to this word"),
        (["node", "list", "more"], "there are more words than it takes"),
        (["nod", "list"], "unknown word 'nod' (did you mean 'node'?)"),
        (["node", "lst"], "unknown word 'lst' (did you mean 'list'?)"),
        (["asr", "chek"], "unknown word 'chek' (did you mean 'check'?)"),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given),
)
def test_the_nearest_is_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_the_last_lines_of_a_console_are_a_negative_number_and_no_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["task", "output", "t", "-5", "--data-dir=/nowhere"]) == 3
    assert "no running cluster" in capsys.readouterr().err
