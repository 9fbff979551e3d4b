"""Every number that can be set, as the definitions of the settings list them: what no timer, port or count can be is a wrong flag."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterodm.deploy.copying import CopySettings
from clusterodm.deploy.settings import PROG, UpSettings
from clusterodm.libs.common.settings.fields import LONGEST_S, Setting, flag
from clusterodm.libs.common.settings.readers import plain_kind
from clusterodm.libs.common.settings.settings import parse

NUMBERS = {
    name: setting
    for name, setting in (CopySettings.settings | UpSettings.settings).items()
    if plain_kind(setting.kind) in {int, float}
}
WHOLE = [name for name, setting in NUMBERS.items() if plain_kind(setting.kind) is int]
BROKEN = [name for name in NUMBERS if name not in WHOLE]
DURATIONS = [name for name in NUMBERS if name.endswith(("_s", "_ms", "_h", "_d", "_timeout")) and "_per_" not in name]
TEN_YEARS = {"s": LONGEST_S, "ms": LONGEST_S * 1000, "h": 87_600, "d": 3_650, "timeout": 87_600}
NO_NUMBER = [
    "inf",
    "-inf",
    "+Infinity",
    "nan",
    "1e400",
    "-1e400",
    "9" * 400,
    "9" * 5_000,
    "1_0",
    "٣٠",
    "0x10",
    "",
    "1,5",
]
NOT_WHOLE = ["1e1", "10.0", "+10", "10.", "1 0", "\uff11\uff10", "0b1", "ten"]
Said = Callable[[list[str]], list[str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Read flags that are wrong; the lines on standard error."""

    def told(argv: list[str]) -> list[str]:
        with pytest.raises(SystemExit) as left:
            parse(UpSettings, argv, PROG)
        assert left.value.code == 2
        return capsys.readouterr().err.splitlines()

    return told


def flags(names: list[str], text: str) -> list[str]:
    return [f"{flag(name)}={text}" for name in names]


def named(names: list[str], lines: list[str]) -> bool:
    """Whether there is one line for each of them."""
    return sorted(line.split(": ")[1] for line in lines) == sorted(map(flag, names))


def upper_bound(setting: Setting) -> float:
    return setting.bounds.get("le", setting.bounds.get("lt", math.inf))


def test_all_numbers_are_looked_at():
    assert {"port", "drain_s", "watchdog_s", "lease_s", "admin_session_h", "asr_every_s", "proxy_workers"} <= set(
        NUMBERS
    )
    assert {"stale_uploads_timeout", "poll_fresh_ms", "tombstones_d"} <= set(DURATIONS)
    assert set(NUMBERS) == set(WHOLE) | set(BROKEN)


@pytest.mark.parametrize("text", NO_NUMBER)
def test_what_is_no_number_is_one_line_as_flag_and_in_the_environment(
    text: str, said: Said, monkeypatch: pytest.MonkeyPatch
):
    assert named(list(NUMBERS), said(flags(list(NUMBERS), text)))
    for name in NUMBERS:
        monkeypatch.setenv(f"CLUSTERODM_{name.upper()}", text)
    assert named(list(NUMBERS), said([]))


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400, "true", "[1]"])
def test_what_is_no_number_is_one_line_in_a_file(number: str, said: Said, tmp_path: Path):
    file = tmp_path / "config.json"
    file.write_text("{" + ", ".join(f'"{flag(name)[2:]}": {number}' for name in NUMBERS) + "}")
    assert named(list(NUMBERS), said(["--config", str(file)]))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_have_makes_a_file_invalid(number: str, said: Said, tmp_path: Path):
    file = tmp_path / "config.json"
    file.write_text(f'{{"drain-s": {number}}}')
    assert said(["--config", str(file)]) == [f"{PROG}: {file} not found or invalid: {number} is no number of JSON"]


@pytest.mark.parametrize("text", NOT_WHOLE)
def test_a_whole_number_is_written_in_plain_digits(text: str, said: Said):
    lines = said(flags(WHOLE, text))
    assert named(WHOLE, lines)
    assert all("should be a valid integer" in line for line in lines)


@pytest.mark.parametrize("text", ["9" * 20, "1e20", "1e300"])
def test_every_number_has_an_upper_bound(text: str, said: Said):
    names = list(NUMBERS) if text.isdecimal() else BROKEN
    lines = said(flags(names, text))
    assert named(names, lines)
    assert all("should be less than" in line for line in lines)


@pytest.mark.parametrize("name", DURATIONS)
def test_no_time_is_longer_than_ten_years(name: str):
    longest = TEN_YEARS[name.rpartition("_")[2]]
    assert upper_bound(NUMBERS[name]) <= longest


def test_no_time_that_may_be_broken_is_a_mistake_in_its_unit(said: Said):
    names = sorted(set(DURATIONS) & set(BROKEN))
    lines = said(flags(names, "0.0000001"))
    assert named(names, lines)
    assert all("greater than" in line for line in lines)


def test_what_gives_no_sign_of_life_has_a_second(said: Said):
    (line,) = said(["--watchdog-s", "0.9"])
    assert line.endswith("--watchdog-s: input should be 0, or greater than or equal to 1 (got '0.9')")
    assert parse(UpSettings, ["--watchdog-s", "0"], PROG).watchdog_s == 0


@pytest.mark.parametrize("name", ["drain_s", "stop_timeout_s"])
def test_nobody_who_is_told_to_stop_takes_longer_than_a_day(name: str):
    assert upper_bound(NUMBERS[name]) == 86_400


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        pytest.param(
            ["--health-port", "65535"],
            "--health-port: 2 processes have a port each from there on: 65534 at most (got 65535)",
            id="health",
        ),
        pytest.param(
            ["--metrics-port", "65533"],
            "--metrics-port: 4 processes have a port each from there on: 65532 at most (got 65533)",
            id="metrics",
        ),
        pytest.param(
            ["--metrics-port", "65532", "--proxy-workers", "2"],
            "--metrics-port: 5 processes have a port each from there on: 65531 at most (got 65532)",
            id="metrics of two proxies",
        ),
    ],
)
def test_a_first_port_leaves_room_for_those_that_follow(argv: list[str], told: str, said: Said):
    assert said(argv) == [f"{PROG}: {told}"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        pytest.param("--admin-web-port 22200", "--port and --admin-web-port are both port 22200", id="two single ones"),
        pytest.param(
            "--metrics-port 22198",
            "--metrics-port 22198 takes ports 22198 to 22201 and --port is 22200",
            id="one of those for metrics",
        ),
        pytest.param(
            "--health-port 22199",
            "--health-port 22199 takes ports 22199 to 22200 and --port is 22200",
            id="the last of those for health",
        ),
        pytest.param(
            "--health-port 22203 --admin-web-port 22203",
            "--health-port 22203 takes ports 22203 to 22204 and --admin-web-port is 22203",
            id="the first of those for health",
        ),
        pytest.param(
            "--metrics-port 22203 --admin-cli-port 22207 --proxies 2",
            "--metrics-port 22203 takes ports 22203 to 22207 and --admin-cli-port is 22207",
            id="the last one for metrics, of more processes",
        ),
        pytest.param(
            "--metrics-port 22202 --health-port 22201",
            "--metrics-port 22202 takes ports 22202 to 22205 and --health-port 22201 takes ports 22201 to 22202",
            id="those for metrics and those for health",
        ),
    ],
)
def test_no_port_has_two_purposes(argv: str, told: str, said: Said):
    assert said(["--port", "22200", *argv.split()]) == [f"{PROG}: {told}: choose another for one of them"]


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param("--metrics-port 22201 --health-port 22198", id="beside each other"),
        pytest.param("--admin-cli-port 0 --admin-web-port 0", id="off"),
    ],
)
def test_ports_that_are_off_or_beside_each_other_are_taken(argv: str):
    assert parse(UpSettings, ["--port", "22200", *argv.split()], PROG).port == 22200


def test_the_last_port_may_be_the_last_that_there_is():
    assert parse(UpSettings, ["--metrics-port", "65532"], PROG).metrics_port == 65532


@pytest.mark.parametrize("size", ["9" * 400 + "GB", "٣GB", "1e3GB", "infGB", "nan%"])
def test_a_size_is_written_in_plain_digits(size: str, said: Said):
    (line,) = said(["--min-free-disk", size])
    assert "must be a size" in line
