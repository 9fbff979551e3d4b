"""Every word of the program is in its overview and in the table of docs/cli.md."""

import re
from pathlib import Path

import pytest

from clusterodm.deploy import cli
from clusterodm.services.admin.cli.core.words import NOUNS

TABLE = (Path(__file__).parents[4] / "docs" / "cli.md").read_text(encoding="utf-8").replace("\\|", "|")
NAMED = [noun for noun in cli.MODULES if noun not in cli.SERVICES]
VERBS = [(noun.name, verb.name) for noun in NOUNS.values() for verb in noun.verbs if verb.name]


@pytest.mark.parametrize("noun", cli.MODULES)
def test_every_word_is_in_the_overview(noun: str):
    assert re.search(rf"^  clusterodm {noun}\b", cli.HELP, re.MULTILINE)


@pytest.mark.parametrize(("noun", "verb"), VERBS)
def test_every_second_word_is_in_the_overview(noun: str, verb: str):
    told = re.findall(rf"^  clusterodm {noun} ([a-z|]+)", cli.HELP, re.MULTILINE)
    assert verb in {word for words in told for word in words.split("|")}


@pytest.mark.parametrize("noun", NAMED)
def test_every_word_is_in_the_table_of_the_document(noun: str):
    assert re.search(rf"^\|.*`{noun}\b", TABLE, re.MULTILINE)


@pytest.mark.parametrize(("noun", "verb"), VERBS)
def test_every_second_word_is_in_the_table_of_the_document(noun: str, verb: str):
    rows = [row for row in TABLE.splitlines() if re.match(rf"\|.*`{noun}\b", row)]
    assert any(re.search(rf"(?<![a-z-]){verb}(?![a-z-])", row) for row in rows)
