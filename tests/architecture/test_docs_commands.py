"""What documents tell people to type is taken, and what they tell them to look for in the log is written there."""

import contextlib
import functools
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusterodm.deploy import cli
from clusterodm.deploy import settings as up
from clusterodm.libs.common.messages.kinds import Event, Request
from clusterodm.services.admin.cli.core.grammar import WrongWord, read
from docs import write_logs
from docs.write_subjects import declared

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    {*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")}
    - {REPOSITORY / "CHANGELOG.md", *REPOSITORY.glob("docs/decisions/*.md")}
)
"""What speaks of the program as it is, and not as it was."""
FENCED = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
COMMAND = re.compile(r"(?:^|[\s/])clusterodm +(?=[a-z])(.*)")
END = re.compile(r" {2,}| (?:#|&&|\||>|;|──|\.\.\.)(?= |$)|\.\.\.$")
"""Behind it comes what is no part of the command any more."""
STAND_FOR = {"PORT": "3000", "HOST": "host", "n": "1", "N": "1", "IMAGES": "5"}
"""What a document writes where a reader puts something of their own; other words in capitals are names."""


def commands_in(text: str) -> Iterator[str]:
    """Find what is to be typed after `clusterodm`."""
    for block in FENCED.findall(text):
        yield from commands_of_lines(re.sub(r"\s*\\\n\s*", " ", block))
    for span in INLINE.findall(FENCED.sub("", text)):
        yield from commands_of_lines(" ".join(span.replace("\\|", "|").split()))


def commands_of_lines(text: str) -> Iterator[str]:
    """Find commands in lines, one in each."""
    for line in text.splitlines():
        if found := COMMAND.search(line):
            yield END.split(f"{found[1]} ", maxsplit=1)[0].strip()


def mistake_in(command: str) -> str:
    """Say what is wrong with a command; empty: it is taken."""
    words = [STAND_FOR.get(word, word) for word in shlex.split(command)]
    noun, rest = words[0], words[1:]
    if noun not in cli.MODULES:
        return "no such word"
    if rest and "|" in rest[0]:  # several verbs at once
        return next(filter(None, (mistake_in(f"{noun} {verb}") for verb in rest[0].split("|"))), "")
    alone = (noun, *rest[:1]) in cli.ALONE or "--asr" in rest
    asks = cli.MODULES[noun] == cli.ADMIN_WORDS or (noun, *rest[:1]) == cli.USAGE
    return mistake_of_cluster_word(words) if asks and not alone else mistake_in_flags(noun, rest)


def mistake_of_cluster_word(words: list[str]) -> str:
    """Read a word that asks the cluster as the program does. One that is only named, without its arguments, must be there."""
    only_named = len(words) <= 2
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            read([*words, "--help"] if only_named else words, 80)
    except WrongWord as wrong:
        return str(wrong)
    except SystemExit:
        return said.getvalue()
    except Exception as asked:  # noqa: BLE001 HelpRequested, which is what was asked for
        return "" if only_named else repr(asked)
    return ""


def mistake_in_flags(noun: str, rest: list[str]) -> str:
    """Look for the flags of a command in the help of its word."""
    plain = [word for word in rest[:1] if re.fullmatch("[a-z-]+", word) and not word.startswith("-")]
    verb = tuple(plain) if noun in {"asr", "token", "tenant"} else ()
    text = help_of(noun, *verb)
    flags = {word.partition("=")[0] for word in rest if word.startswith("--")} - {"--help", "--help-all"}
    unknown = [flag for flag in sorted(flags) if not re.search(rf"(?<![\w-]){flag}(?![\w-])", text)]
    return f"no such word: {verb}" if not text else f"no such flag: {unknown}" if unknown else ""


@functools.cache
def help_of(noun: str, *verb: str) -> str:
    """Read the whole help of a word; empty: there is none."""
    said, flag = io.StringIO(), "--help-all" if noun in cli.SERVICES else "--help"
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = cli.main([noun, *verb, flag]) if noun != "up" else bool(up.read([flag]))  # its main takes signals
        except SystemExit as ended:
            code = int(ended.code or 0)
    return "" if code else said.getvalue()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_command_in_a_document_is_one_that_the_program_takes(document: Path):
    commands = dict.fromkeys(commands_in(document.read_text(encoding="utf-8")))
    assert {each: why for each in commands if (why := mistake_in(each))} == {}


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        pytest.param("see `clusterodm task show ID`: there", ["task show ID"], id="in a sentence"),
        pytest.param("`clusterodm up\n--demo`", ["up --demo"], id="over the end of a line"),
        pytest.param("| `clusterodm task up\\|priority` |", ["task up|priority"], id="in a table"),
        pytest.param("```\n$ clusterodm node list   # all\n  x\n```", ["node list"], id="in a block"),
        pytest.param("```\nclusterodm task wait 5b3a && make maps\n```", ["task wait 5b3a"], id="what follows"),
        pytest.param("```\n.venv/bin/clusterodm up \\\n  --demo\n```", ["up --demo"], id="a line that goes on"),
        pytest.param("`clusterodm WORD --help` of clusterodm itself", [], id="no command"),
    ],
)
def test_commands_are_found(text: str, commands: list[str]):
    assert list(commands_in(text)) == commands


@pytest.mark.parametrize(
    "command",
    ["task show ID", "node remove n", "node list --follow", "task info", "up --nothing", "token make survey", "asr look",
     "tenant set survey --wait 3", "asr check --offline FILE", "task up|prior", "frobnicate"],
)  # fmt: skip
def test_a_command_that_is_none_is_noticed(command: str):
    if command == "task info":  # it is named, and not to be typed so
        assert not mistake_in(command)
    else:
        assert mistake_in(command)


EVENT = re.compile(r"`([a-z_0-9]+\.[a-z_]+)`")
NO_EVENTS = frozenset({"nats.micro", "lease.url", "lease.seconds"})
"""A module, and fields of a message to providers' programs."""
FILES = frozenset({"json", "md", "py", "sh", "yml", "yaml", "log", "conf", "txt", "service", "csv", "db", "toml"})


@functools.cache
def events() -> frozenset[str]:
    """Name all lines of the log."""
    folders = [*(path.parent for path in write_logs.SERVICES.glob("*/__init__.py")), write_logs.SHARED, Path("deploy")]
    return frozenset(text for folder in folders for text, _ in write_logs.lines_of(folder))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_event_that_a_document_names_is_one(document: Path):
    lines = events()
    messages = {message.name for kind in (Event, Request) for message in declared(kind)}
    nouns = {name.partition(".")[0] for name in (*lines, *messages)}
    named = set(EVENT.findall(document.read_text(encoding="utf-8")))
    meant = {name for name in named if name.partition(".")[0] in nouns and name.partition(".")[2] not in FILES}
    assert meant - lines - messages - NO_EVENTS == set()


def test_documents_call_lines_of_the_log_as_they_are():
    spaced = {name.replace(".", " ").replace("_", " ") for name in events() if "." in name}
    called = {path.name: spaced.intersection(INLINE.findall(path.read_text(encoding="utf-8"))) for path in DOCUMENTS}
    assert {name: wrong for name, wrong in called.items() if wrong} == {}
