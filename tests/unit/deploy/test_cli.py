"""The first word chooses what runs; anything else is one clear line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clusterodm.deploy.cli import EXIT_INTERRUPTED, EXIT_USAGE, MODULES, SECRET_FLAGS, main, without_secrets
from clusterodm.deploy.copying import CopySettings
from clusterodm.deploy.settings import UpSettings
from clusterodm.libs.common.process.printing import EXIT_BROKEN_PIPE, EXIT_UNWRITTEN
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.fields import flag
from clusterodm.libs.common.settings.fields import secret as is_secret
from clusterodm.libs.common.settings.readers import plain_kind
from clusterodm.libs.common.settings.settings import OTHER_NAMES
from clusterodm.libs.common.version import VERSION
from clusterodm.services.admin.cli.adapters import say


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"clusterodm {VERSION}\n"


@pytest.mark.parametrize("words", [pytest.param([], id="nothing"), pytest.param(["--help"], id="--help")])
def test_help_names_every_word(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 0
    said = capsys.readouterr().out
    assert [word for word in MODULES if f"clusterodm {word}" not in said] == []


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        pytest.param("schedular", "did you mean 'scheduler'?", id="a near miss"),
        pytest.param("xyz", "one of up, copy-nats, proxy", id="nothing like it"),
        pytest.param("--port", "clusterodm up --port", id="a flag without a word"),
    ],
)
def test_an_unknown_word_is_one_line_with_a_hint(word: str, hint: str, capsys: pytest.CaptureFixture[str]):
    assert main([word]) == EXIT_USAGE
    said = capsys.readouterr().err
    assert hint in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["up", "--token", "s3cret", "--port", "1"], ["up", "--token", "***", "--port", "1"]),
        (["up", "--token=s3cret"], ["up", "--token=***"]),
        (["up", "--node", "a:1:s3cret", "--node=b:1:s3cret"], ["up", "--node", "***", "--node=***"]),
        (["admin", "--admin-pass", "s3cret"], ["admin", "--admin-pass", "***"]),
        (["proxy", "--nats-url=nats://s3cret@h:1"], ["proxy", "--nats-url=***"]),
        (["copy-nats", "--nats-from", "nats://u:s3cret@h:1"], ["copy-nats", "--nats-from", "***"]),
        (["up", "--admin-cli-pass", "s3cret"], ["up", "--admin-cli-pass", "***"]),
        (["node", "list"], ["node", "list"]),
    ],
)
def test_secrets_among_the_flags_are_not_shown_by_ps(words: list[str], shown: list[str]):
    assert without_secrets(words) == shown


def test_every_setting_that_is_a_secret_is_hidden_by_all_its_names():
    known = UpSettings.settings | CopySettings.settings
    secret = {
        name
        for name, each in known.items()
        if plain_kind(each.kind) is Secret or (name.startswith("nats_") and is_secret(name))
    }
    secret |= {other for other, name in OTHER_NAMES.items() if name in secret}
    assert {flag(name) for name in secret} == SECRET_FLAGS


def test_nothing_takes_the_place_of_standard_input_where_that_is_closed():
    """Else a child, which reads nothing, would let go of it: the lock of the data directory, for one."""
    opened = "import os; from clusterodm.deploy.cli import main; main(['--version']); print(os.open('/dev/null', os.O_RDONLY))"
    ran = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, opened],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert int(ran.stdout.split()[-1]) > 2


def test_choosing_a_word_imports_nothing_else():
    loaded = "import sys, clusterodm.deploy.cli; print([m for m in sys.modules if m.split('.')[0] in ('services', 'libs', 'nats')])"
    ran = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "import_of", ["asyncio", "clusterodm.libs.common.settings.settings", "structlog", "clusterodm.deploy.local"]
)
def test_an_interrupt_while_modules_are_imported_ends_quietly(import_of: str):
    words = [sys.executable, "-X", "importtime", "-m", "clusterodm.deploy.cli", "up", "--no-such-flag"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if line.split("|")[-1].strip() == import_of:
                break
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    assert "Traceback" not in rest
    at_its_end = -signal.SIGINT  # where it was quicker: Python hears no signals any more, and says nothing
    assert process.returncode in {EXIT_INTERRUPTED, EXIT_USAGE, at_its_end}


def loaded_by(statement: str) -> set[str]:
    """Which packages a statement imports."""
    told = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    alone = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # of a measured run: it loads more
    ran = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=30, env=alone
    )
    return set(ran.stdout.split())


def test_what_every_start_waits_for_imports_nothing_that_it_can_do_without():
    up = loaded_by(
        "import clusterodm.deploy.cli; clusterodm.deploy.cli.leave_out_what_nobody_uses(); import clusterodm.deploy.local"
    )
    assert not up & {"pydantic", "nats", "uvicorn", "starlette", "httpx", "boto3", "prometheus_client"}
    proxy = loaded_by(
        "import clusterodm.deploy.cli; clusterodm.deploy.cli.leave_out_what_nobody_uses(); import clusterodm.services.proxy.main"
    )
    assert not proxy & {"pydantic", "boto3", "botocore", "jinja2", "prometheus_client"}


def test_an_operators_words_are_understood_without_the_bus():
    assert not loaded_by("import clusterodm.services.admin.cli.api.program") & {
        "nats",
        "uvicorn",
        "starlette",
        "httpx",
        "boto3",
    }


def test_a_question_to_the_cluster_is_asked_without_an_event_loop():
    """What commands load is most of what they take: docs/decisions/0136."""
    loaded = loaded_by(
        "import clusterodm.services.admin.cli.api.program as program; program.load_msgspec_alone(); "
        "import clusterodm.services.admin.cli.api.session"
    )
    assert not loaded & {
        *("asyncio", "structlog", "nats", "httpx", "ssl", "logging", "typing_extensions", "dataclasses", "inspect"),
        *("pathlib", "urllib", "ipaddress", "json", "shutil"),
    }


@pytest.mark.parametrize(
    "words",
    [["--help"], ["task", "list"], ["task", "--help"], ["token", "list"], ["token", "--help"], ["copy-nats"]],
    ids=" ".join,
)
def test_without_an_output_nothing_is_done_and_a_line_says_so(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(words) == EXIT_UNWRITTEN
    assert capsys.readouterr().err == "clusterodm: cannot write the output: standard output is closed\n"


@pytest.mark.parametrize(
    "words", [["--help"], ["task", "--help"], ["token", "--help"], ["token", "list"], ["up", "--help"]], ids=" ".join
)
def test_a_full_output_is_one_line_and_no_success(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("CLUSTERODM_DATA_DIR", str(tmp_path))
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(words) == EXIT_UNWRITTEN
    assert capsys.readouterr().err == "clusterodm: cannot write the output: No space left on device\n"


def test_an_answer_that_cannot_be_written_ends_the_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as leaving:
            say("an answer")
    assert leaving.value.code == EXIT_UNWRITTEN
    assert "cannot write the output: No space left on device" in capsys.readouterr().err


def test_a_reader_that_has_gone_ends_the_program_quietly():
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m clusterodm.deploy.cli --help | true"],
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert ended.stderr == b""
    assert ended.returncode in {0, EXIT_BROKEN_PIPE}
