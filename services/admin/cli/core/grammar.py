"""Words become arguments: a parser of the one word that is meant, made of the table in words.py; and the help of each."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from clusterodm.libs.common.settings.grammar import Grammar, columns, hint, wrapped
from clusterodm.services.admin.cli.core.arguments import Argument, Noun, Verb
from clusterodm.services.admin.cli.core.reading import READERS
from clusterodm.services.admin.cli.core.words import COMMON, NOUNS, flags_of_all

PROG: Final = "clusterodm"
WIDE_COLUMNS: Final = 1000
"""Of a usage that argparse writes: it stands in one line."""
HELP: Final = frozenset({"-h", "--help"})
EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 the answer is no or it failed, 2 wrong usage or a mistake in a file, 3 the cluster does not answer. "
    "The cluster is found by --nats-url, else cluster.json in --data-dir, else CLUSTERODM_NATS_URL, else cluster.json in CLUSTERODM_DATA_DIR, or in data."
)


class HelpRequested(Exception):
    """Somebody wants to read this."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class WrongWord(Exception):
    """There is no such word."""


class Formatter(argparse.HelpFormatter):
    """Writes usage and mistakes; argparse makes one for each argument, and would ask for the width of the terminal each time."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=WIDE_COLUMNS)


def read(words: Sequence[str], width: int) -> argparse.Namespace:
    """Read a command, its noun first. Raises HelpRequested and WrongWord; other mistakes end the program with exit code 2."""
    noun = noun_of(words[0] if words else "")
    rest = list(words[1:])
    named = noun.verbs[0].name != ""
    if named and rest and rest[0] in HELP:
        raise HelpRequested(noun_help(noun, width))
    verb = verb_of(noun, rest.pop(0) if rest else "") if named else noun.verbs[0]
    if HELP.intersection(rest):
        raise HelpRequested(verb_help(noun, verb, width))
    given = parser(noun, verb).read(rest)
    given.noun, given.verb = noun.name, verb.name
    if given.json:
        given.output = "json"
    return given


def noun_of(word: str) -> Noun:
    """Find a noun. Raises WrongWord."""
    if word not in NOUNS:
        raise WrongWord(f"unknown word {word!r}{hint(word, NOUNS)}: one of {', '.join(NOUNS)}")
    return NOUNS[word]


def verb_of(noun: Noun, word: str) -> Verb:
    """Find a verb. Raises WrongWord."""
    known = {verb.name: verb for verb in noun.verbs}
    if word not in known:
        said = f"unknown word {word!r}{hint(word, known)}" if word else f"{noun.name} needs a word more"
        raise WrongWord(f"{said}: one of {', '.join(known)}")
    return known[word]


def parser(noun: Noun, verb: Verb) -> Grammar:
    """Make the grammar of one word."""
    name = " ".join(filter(None, (PROG, noun.name, verb.name)))
    made = Grammar(prog=name, add_help=False, formatter_class=Formatter, others=flags_of_all(), usage=usage(noun, verb))
    for each in (*verb.arguments, *common_of(verb)):
        made.add_argument(*filter(None, (each.short, each.name)), **keywords(each))
    return made


def common_of(verb: Verb) -> list[Argument]:
    """List the flags of every word, but for those that this one has its own of."""
    own = {each.name for each in verb.arguments}
    return [each for each in COMMON if each.name not in own]


def keywords(each: Argument) -> dict[str, Any]:
    """Say to argparse what an argument is."""
    if each.switch:
        return {"action": "store_true"}
    found: dict[str, Any] = {"type": checked(READERS[each.reads]), "default": each.otherwise}
    if each.choices:
        found["choices"] = each.choices
    if each.several:
        found["nargs"] = "*" if each.optional else "+"
    elif each.optional:
        found["nargs"] = "?"
    if each.is_flag and each.optional:  # given without a value it has its usual one, and not given none
        found |= {"const": each.otherwise, "default": None}
    return found


def checked(reader: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse say what a reader says."""

    def read_by(text: str) -> Any:
        try:
            return reader(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_by


def value_of(each: Argument) -> str:
    """Call what an argument wants by a name."""
    return "|".join(filter(None, each.choices)) or each.shown or each.name.lstrip("-").upper()


def form_of(each: Argument) -> str:
    """Write an argument as it is given."""
    if each.switch:
        return each.name
    value = f"{value_of(each)}{' ...' if each.several else ''}"
    if each.is_flag:
        return f"{each.name} [{value}]" if each.optional else f"{each.name} {value}"
    return f"[{value}]" if each.optional else value


def usage(noun: Noun, verb: Verb) -> str:
    """Write how a word is used, in one line."""
    forms = [f"[{form_of(each)}]" if each.is_flag else form_of(each) for each in verb.arguments]
    return " ".join(filter(None, (PROG, noun.name, verb.name, *forms)))


def noun_help(noun: Noun, width: int) -> str:
    """Write the help of a noun: its verbs, and examples of all."""
    lines = [
        f"usage: {PROG} {noun.name} WORD ...",
        "",
        *wrapped(f"{noun.about[0].upper()}{noun.about[1:]}.", width),
        "",
        "Words:",
    ]
    for verb in noun.verbs:
        lines += columns(usage(noun, verb).removeprefix(f"{PROG} {noun.name} ").partition(" [--")[0], verb.about, width)
    lines += example_lines([example for verb in noun.verbs for example in verb.examples], width)
    if noun.note:
        lines += ["", *wrapped(noun.note, width)]
    lines += ["", f"Each word explains itself: {PROG} {noun.name} {noun.verbs[0].name} --help"]
    return "\n".join([*lines, *epilog(width)])


def verb_help(noun: Noun, verb: Verb, width: int) -> str:
    """Write the help of one word: its arguments and examples."""
    lines = [f"usage: {usage(noun, verb)}", "", *wrapped(f"{verb.about[0].upper()}{verb.about[1:]}.", width)]
    plain = [each for each in verb.arguments if not each.is_flag]
    for title, arguments in (("Arguments", plain), ("Flags", [each for each in verb.arguments if each.is_flag])):
        if arguments:
            lines += ["", f"{title}:", *described(arguments, width)]
    lines += ["", "Flags of every word:", *described(common_of(verb), width)]
    return "\n".join([*lines, *example_lines(verb.examples, width), *epilog(width)])


def described(arguments: Sequence[Argument], width: int) -> Iterator[str]:
    """Write arguments in two columns."""
    for each in arguments:
        short = f"{each.short}, " if each.short else ""
        yield from columns(short + form_of(each), each.about, width)


def example_lines(examples: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Write examples."""
    if examples:
        yield from ("", "Examples:")
    for words, what in examples:
        yield from columns(f"{PROG} {words}", what, width, 44)


def epilog(width: int) -> Iterator[str]:
    """Write what holds for every word."""
    yield from ("", *wrapped(EXIT_CODES, width))
