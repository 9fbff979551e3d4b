"""Help and completion: made of one table, quick, and complete."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clusterodm.services.admin.cli.api.program import main
from clusterodm.services.admin.cli.core.arguments import Noun, Verb
from clusterodm.services.admin.cli.core.asking import BUILDERS
from clusterodm.services.admin.cli.core.completion import script
from clusterodm.services.admin.cli.core.grammar import noun_help, read, verb_help
from clusterodm.services.admin.cli.core.words import COMMON, NOUNS, SHELLS

WORDS = [(noun, verb) for noun in NOUNS.values() for verb in noun.verbs]
LONG = {("task", "wait"), ("events", ""), ("import", ""), ("completion", "")}
"""These are no command that is answered once."""


@pytest.mark.parametrize("width", [60, 80, 110])
@pytest.mark.parametrize(("noun", "verb"), WORDS, ids=lambda each: each.name)
def test_the_help_of_a_word_has_its_arguments_and_fits(noun: Noun, verb: Verb, width: int) -> None:
    shown = verb_help(noun, verb, width)
    assert [
        each.name
        for each in (*verb.arguments, *COMMON)
        if each.name.lstrip("-").lower() not in shown.lower() and not each.shown
    ] == []
    assert "3 the cluster does not answer" in " ".join(shown.split())
    long = [
        line
        for line in shown.splitlines()
        if len(line) > width and not line.startswith(("usage:", "  clusterodm", "  -"))
    ]
    assert long == []


@pytest.mark.parametrize("noun", NOUNS.values(), ids=lambda noun: noun.name)
def test_the_help_of_a_noun_names_its_words_with_examples(noun: Noun) -> None:
    shown = noun_help(noun, 100)
    assert [verb.name for verb in noun.verbs if f"  {verb.name}" not in shown] == []
    assert "Examples:" in shown or noun.name == "route"


@pytest.mark.parametrize(
    "words", [example for _, verb in WORDS for example, _ in verb.examples], ids=lambda words: words
)
def test_every_example_is_right(words: str) -> None:
    alone = words.partition(" && ")[0].partition(" >")[0].split()
    given = read(alone, 100)
    assert given.noun == alone[0]


def test_every_word_is_a_command() -> None:
    assert {(noun.name, verb.name) for noun, verb in WORDS} == set(BUILDERS) | LONG


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_names_every_word_and_flag(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    written = capsys.readouterr().out
    assert written == script(shell)
    assert [verb.name for _, verb in WORDS if verb.name not in written] == []
    flags = {each.name.lstrip("-") for _, verb in WORDS for each in (*verb.arguments, *COMMON) if each.is_flag}
    assert [flag for flag in flags if flag not in written] == []


def completed_by_bash(line: str, tmp_path: Path) -> list[str]:
    """Let bash complete the last word of a line."""
    (tmp_path / "completion").write_text(script("bash"))
    words = line.split(" ")
    listed = " ".join(f"'{word}'" for word in words)
    told = f"source {tmp_path}/completion; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _clusterodm; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    ran = subprocess.run(
        ["bash", "-c", told], capture_output=True, text=True, check=True, timeout=20, env={"PATH": str(tmp_path)}
    )
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("clusterodm no", ["node"]),
        ("clusterodm task ", ["list", "info", "output", "wait", "cancel", "remove", "restart", "priority", "up"]),
        ("clusterodm task wa", ["wait"]),
        ("clusterodm node list --w", ["--watch"]),
        ("clusterodm events --f", ["--follow"]),
        ("clusterodm node list -o ", ["table", "wide", "json", "yaml"]),
        ("clusterodm completion z", ["zsh"]),
        ("clusterodm tok", ["token"]),
        ("clusterodm hash", ["hash-password"]),
        ("clusterodm token r", ["revoke", "rotate"]),
        ("clusterodm tenant s", ["set"]),
        ("clusterodm tenant u", ["usage"]),
        ("clusterodm token create x --max", ["--max-images"]),
        ("clusterodm task list --state wa", ["waiting"]),
        ("clusterodm task list --owner ", []),
    ],
)
def test_bash_completes(line: str, offered: list[str], tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    (tmp_path / "bash").symlink_to(bash)
    assert completed_by_bash(line, tmp_path) == offered


@pytest.mark.parametrize(
    ("shell", "check"), [("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"]), ("bash", ["bash", "-n"])]
)
def test_the_script_is_one_of_its_shell(shell: str, check: list[str], tmp_path: Path) -> None:
    if shutil.which(check[0]) is None:
        pytest.skip(f"needs {shell}")
    path = tmp_path / "script"
    path.write_text(script(shell))
    ran = subprocess.run([*check, str(path)], capture_output=True, text=True, check=False, timeout=20)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_help_loads_nothing_that_speaks_with_a_cluster() -> None:
    told = (
        "import sys; from clusterodm.services.admin.cli.api.program import main; main(['task', 'list', '--help']);"
        " sys.stderr.write(' '.join(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=30)
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert not loaded & {"asyncio", "msgspec", "structlog", "nats", "dataclasses", "ssl", "json", "logging"}


def test_a_word_that_nobody_knows_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["task", "wayt"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "clusterodm: unknown word 'wayt' (did you mean 'wait'?): one of list, info, output, wait, cancel, remove, restart, priority, up\n"
    )
