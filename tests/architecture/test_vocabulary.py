"""One word, one meaning: docs/glossary.md is the only list of words, and no public class name stands for two things."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("services", "libs/common", "libs/http1", "deploy", "tools")
"""Not the simulators: they are strangers, and speak of their own nodes, tasks and machines."""
MODULES = sorted(path for root in ROOTS for path in (REPOSITORY / root).rglob("*.py"))
GLOSSARY = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
WORDS = [
    word.strip()
    for row in re.findall(r"^\| (\*\*.+?\*\*.*?) \|", GLOSSARY, flags=re.MULTILINE)
    for bold in re.findall(r"\*\*(.+?)\*\*", row)
    for word in bold.split(",")
]

TWICE: dict[str, str] = {}
"""Class names that stand for two things, each with the reason why it may. None does: a name that two services need says which part it plays."""

RETIRED = frozenset(
    (
        *("vacancy", "heed", "heeding", "reign", "office"),  # leader, leadership, is_leader
        *("voice", "news", "noticed", "notices"),  # event publisher, changed, on_change
        *("ledger", "board", "unfile"),  # task store, cluster state
        *("rota", "rhythm", "look", "looks", "looked"),  # delay queue, poll interval, observe, check
        *("promise", "promised", "allowance"),  # reservation, quota
        *("loser", "aimer", "cleaner", "actor", "teller", "placement_loop"),  # what each of them is
        *("aim", "aims", "aimed", "trip", "trips", "pile"),  # stage-in
        *("wishes", "verdict", "ladder", "warmth"),  # actions, decision, fallback, warm pool
        *("porch", "wire", "bearing", "tap", "pour", "movers"),  # fast path, protocol, context, move
        *("neighbours",),  # peers
        *("patience", "patiently", "calm", "crew"),  # retry policy, timeouts, task limiter
        *("lives", "attend", "keeping"),  # controller, reconcile
    )
)
"""Words that once were in this code; the field has others. They are in no name any more."""
KEPT = {
    "LookUp": "what resolvers and dictionaries do",
    "aim_s": "a flag",
    "aims_per_node_count": "a flag",
    "looks_count": "in records",
    "look_up": "what resolvers and dictionaries do",
    "_look_up": "what resolvers and dictionaries do",
    "_looked_up": "what resolvers and dictionaries do",
}
"""Names with such a word that stay, each with the reason."""


@cache
def tree(path: Path) -> ast.Module:
    """Parse a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def where(path: Path) -> str:
    """Name a module as people do."""
    return str(path.relative_to(REPOSITORY))


def classes() -> dict[str, list[str]]:
    """Find where each public class is defined."""
    found = defaultdict[str, list[str]](list)
    for path in MODULES:
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(where(path))
    return found


def names(path: Path) -> set[str]:
    """List what a module gives names to."""
    named = set[str]()
    for node in ast.walk(tree(path)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                named.add(name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                named.add(name)
    return named


def parts(name: str) -> set[str]:
    """Take a name apart: `open_bucket`, `LongPoll`."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


@cache
def code() -> str:
    """Put all code into one text in which words can be found, whichever way they are written together."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ").replace("-", " ").lower()


def test_no_class_name_stands_for_two_things():
    twice = {name: places for name, places in classes().items() if len(places) > 1 and name not in TWICE}
    assert twice == {}


def test_class_names_that_may_stand_for_two_things_still_do():
    found = classes()
    assert [name for name in TWICE if len(found[name]) < 2] == []


def test_the_glossary_has_each_word_once():
    assert WORDS
    assert sorted({word for word in WORDS if WORDS.count(word) > 1}) == []


@pytest.mark.parametrize("word", WORDS)
def test_every_word_of_the_glossary_is_in_the_code(word: str):
    assert re.search(rf"\b{re.escape(word.replace('-', ' ').lower())}", code())


def test_retired_words_are_in_no_name():
    retired = {
        f"{where(path)}: {name}"
        for path in MODULES
        for name in [*names(path), path.stem]
        if name not in KEPT and parts(name) & RETIRED
    }
    assert retired == set()


def test_retired_words_are_not_in_the_glossary():
    assert [word for word in WORDS if parts(word) & RETIRED] == []
