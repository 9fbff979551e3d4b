"""Completion for bash, zsh and fish, written from the table of words.

Words and flags are in the script itself, so that a TAB costs nothing. Nodes, tasks and machines are asked of the cluster, a second at
most, and what they are called is printed by `clusterodm completion --values KIND`. What the words about the file of tokens do is read in
tokens/grammar.py, and a test compares both.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from clusterodm.services.admin.cli.core.arguments import Argument, Noun, Verb
from clusterodm.services.admin.cli.core.words import COMMON, NOUNS, OUTPUTS

ASK: Final = "timeout 2 clusterodm completion --values"
OTHER_WORDS: Final = ("up", "proxy", "scheduler", "autoscaler", "admin", "copy-nats", "hash-password")
"""Words of the program that are none of an operator."""
FILE_FLAGS: Final = (
    Argument("--output", "how it is shown; json and yaml are for programs", short="-o", choices=OUTPUTS),
    Argument("--json", "the same as -o json", switch=True),
    Argument("--tokens", "the file of tokens", shown="FILE", completes="file"),
    Argument("--data-dir", "the data directory, whose tokens.json it is", shown="DIR", completes="file"),
)
LIMIT_FLAGS: Final = (
    Argument("--weight", "share of the slots against other tenants that wait"),
    Argument("--priority", "who goes first, whatever the weights"),
    Argument("--max-images", "images of one task"),
    Argument("--task-size", "size of one task, as 50GB"),
    Argument("--tasks-at-once", "tasks under way at once"),
    Argument("--storage", "all files kept, as 1TB"),
    Argument("--options", "JSON with limits of options", completes="file"),
    Argument("--labels", "its tasks go only to nodes with all of these labels"),
)
EXPIRES: Final = Argument("--expires", "after so long it counts no more, as 90d")
TOKEN_ID: Final = Argument("id", "id of a token, or its beginning")
TENANT_NAME: Final = Argument("tenant")
FILE_NOUNS: Final = (
    Noun(
        "token",
        "the tokens of clients, in a file",
        (
            Verb(
                "create",
                "make a token",
                (
                    TENANT_NAME,
                    *LIMIT_FLAGS,
                    EXPIRES,
                    Argument("--note", "what it is for"),
                    Argument("--token-file", "take over a token that is in use", completes="file"),
                ),
            ),
            Verb("list", "list the tokens"),
            Verb("revoke", "let tokens count no more", (TOKEN_ID, Argument("--tenant", "all tokens of this tenant"))),
            Verb(
                "rotate",
                "make another token for the tenant of one",
                (TOKEN_ID, Argument("--overlap", "how long the old one still counts"), EXPIRES),
            ),
        ),
    ),
    Noun(
        "tenant",
        "whom tasks belong to, in the file of tokens",
        (
            Verb("list", "list tenants and their limits"),
            Verb("set", "change what a tenant may do", (TENANT_NAME, *LIMIT_FLAGS)),
            Verb("remove", "take a tenant and its tokens out", (TENANT_NAME,)),
        ),
    ),
)


def script(shell: str) -> str:
    """Write what a shell reads."""
    return WRITERS[shell]()


def nouns_of_all() -> Mapping[str, Noun]:
    """List all nouns, those about the file of tokens, too."""
    found = dict(NOUNS)
    for noun in FILE_NOUNS:
        known = found.get(noun.name)
        found[noun.name] = (
            noun if known is None else known._replace(verbs=(*noun.verbs, *known.verbs), about=noun.about)
        )
    return found


ALL: Final = nouns_of_all()


def flags_of(verb: Verb) -> list[Argument]:
    """List the flags of a word."""
    about_file = any(verb is each for noun in FILE_NOUNS for each in noun.verbs)
    own = {each.name for each in verb.arguments}
    common = [each for each in (FILE_FLAGS if about_file else COMMON) if each.name not in own]
    return [each for each in (*verb.arguments, *common) if each.is_flag]


def values_of(each: Argument) -> str:
    """List what a shell offers as values of a flag; empty: nothing."""
    return " ".join(each.choices or each.offers)


def kind_of(verb: Verb) -> str:
    """Say what a word's first argument that can be completed is."""
    return next((each.completes for each in verb.arguments if not each.is_flag and each.completes), "")


def cases() -> Iterator[tuple[str, str, Verb]]:
    """Name every word as `noun verb`, with its verb."""
    for noun in ALL.values():
        for verb in noun.verbs:
            yield noun.name, verb.name, verb


def valued(form: str, file: str) -> str:
    """Write an arm of `case` for each flag with a value: what there is to offer, files, or nothing."""

    def offered(each: Argument) -> str:
        words = values_of(each)
        return form.format(words=words) if words else file if each.completes == "file" else ":"

    return "\n".join(
        f"    '{noun} {verb.name} {name}') {offered(each)}; return;;"
        for noun, _, verb in cases()
        for each in flags_of(verb)
        if not each.switch
        for name in (each.name, each.short)
        if name
    )


def bash() -> str:
    """Write it for bash (and for zsh's bashcompinit)."""
    nouns = " ".join((*ALL, *OTHER_WORDS))
    verbs = "\n".join(
        f"      {noun.name}) COMPREPLY=($(compgen -W '{' '.join(verb.name for verb in noun.verbs)}' -- \"$cur\"));;"
        for noun in ALL.values()
        if noun.verbs[0].name
    )
    arms = "\n".join(f"    '{noun} {verb.name}') flags='{bash_flags(verb)}'; kind='{kind_of(verb)}'; choices='{choices_of(verb)}';;"
                     for noun, _, verb in cases())  # fmt: skip
    values = valued("COMPREPLY=($(compgen -W '{words}' -- \"$cur\"))", 'COMPREPLY=($(compgen -f -- "$cur"))')
    return f"""\
# bash completion for clusterodm, written by `clusterodm completion bash`
_clusterodm() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" noun="${{COMP_WORDS[1]}}" verb="${{COMP_WORDS[2]}}"
  local flags='' kind='' choices=''
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{nouns}' -- "$cur")); return
  fi
  case "$noun" in events|import|completion) verb='';; esac
  if [ "$COMP_CWORD" -eq 2 ] && [ -n "$verb$cur" -o -z "$cur" ]; then
    case "$noun" in
{verbs}
    esac
    [ ${{#COMPREPLY[@]}} -gt 0 ] && return
  fi
  case "$noun $verb $prev" in
{values}
  esac
  case "$noun $verb" in
{arms}
  esac
  if [[ "$cur" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur")); return
  fi
  case "$kind" in
    file) COMPREPLY=($(compgen -f -- "$cur"));;
    '') COMPREPLY=($(compgen -W "$choices" -- "$cur"));;
    *) COMPREPLY=($(compgen -W "$({ASK} "$kind" 2>/dev/null | cut -f1)" -- "$cur"));;
  esac
}}
complete -o filenames -F _clusterodm clusterodm
"""


def bash_flags(verb: Verb) -> str:
    """List a word's flags."""
    return " ".join(each.name for each in flags_of(verb))


def choices_of(verb: Verb) -> str:
    """List what a word's argument may be."""
    return " ".join(word for each in verb.arguments if not each.is_flag for word in each.choices)


def zsh() -> str:
    """Write it for zsh, with what each word does."""
    nouns = " ".join(quoted(f"{noun.name}:{noun.about}") for noun in ALL.values())
    others = " ".join(OTHER_WORDS)
    values = valued("compadd -- {words}", "_files")
    verbs = "\n".join(
        f"      {noun.name}) verbs=({' '.join(quoted(f'{verb.name}:{verb.about}') for verb in noun.verbs)});;"
        for noun in ALL.values()
        if noun.verbs[0].name
    )
    arms = "\n".join(
        f"    '{noun} {verb.name}') kind='{kind_of(verb)}'; choices=({choices_of(verb)}); flags=({zsh_flags(verb)});;"
        for noun, _, verb in cases()
    )
    return f"""\
#compdef clusterodm
# zsh completion for clusterodm, written by `clusterodm completion zsh`
_clusterodm() {{
  local -a nouns verbs flags choices values
  local noun="$words[2]" verb="$words[3]" kind=''
  nouns=({nouns} {others})
  if (( CURRENT == 2 )); then _describe word nouns; return; fi
  case "$noun" in events|import|completion) verb='';; esac
  if (( CURRENT == 3 )); then
    case "$noun" in
{verbs}
    esac
    if (( $#verbs )); then _describe word verbs; return; fi
  fi
  case "$noun $verb $words[CURRENT-1]" in
{values}
  esac
  case "$noun $verb" in
{arms}
  esac
  if [[ "$PREFIX" == -* ]]; then _describe flag flags; return; fi
  case "$kind" in
    file) _files;;
    '') (( $#choices )) && compadd -- $choices;;
    *) values=("${{(@f)$({ASK} $kind 2>/dev/null | tr '\\t' ':')}}"); _describe "$kind" values;;
  esac
}}
if [ "$funcstack[1]" = _clusterodm ]; then _clusterodm "$@"; else compdef _clusterodm clusterodm; fi
"""


def zsh_flags(verb: Verb) -> str:
    """List a word's flags with what they do."""
    return " ".join(quoted(f"{each.name}:{each.about or 'a value'}") for each in flags_of(verb))


def fish() -> str:
    """Write it for fish, with what each word does."""
    lines = ["# fish completion for clusterodm, written by `clusterodm completion fish`", "complete -c clusterodm -f"]
    for noun in ALL.values():
        lines.append(f"complete -c clusterodm -n __fish_use_subcommand -a {noun.name} -d {quoted(noun.about)}")
        for verb in noun.verbs:
            lines += fish_verb(noun.name, verb)
    lines += [f"complete -c clusterodm -n __fish_use_subcommand -a {word}" for word in OTHER_WORDS]
    return "\n".join(lines) + "\n"


def fish_verb(noun: str, verb: Verb) -> Iterator[str]:
    """Write what completes one word and what follows it."""
    here = f"__fish_seen_subcommand_from {noun}"
    if verb.name:
        names = " ".join(each.name for each in ALL[noun].verbs)
        waits = f"{here}; and not __fish_seen_subcommand_from {names}"
        yield f"complete -c clusterodm -n {quoted(waits)} -a {verb.name} -d {quoted(verb.about)}"
        here = f"{here}; and __fish_seen_subcommand_from {verb.name}"
    condition = f"complete -c clusterodm -n {quoted(here)}"
    for each in flags_of(verb):
        short = f" -s {each.short[1:]}" if each.short else ""
        value = "" if each.switch else " -r" if each.completes == "file" else f" -x -a {quoted(values_of(each))}"
        yield f"{condition} -l {each.name[2:]}{short}{value} -d {quoted(each.about)}"
    kind = kind_of(verb)
    if kind == "file":
        yield f"{condition} -F"
    elif kind:
        yield f"{condition} -a {quoted(f'({ASK} {kind} 2>/dev/null)')}"
    elif choices := choices_of(verb):
        yield f"{condition} -a {quoted(choices)}"


def quoted(text: str) -> str:
    """Put a text into quotes that all shells read."""
    plain = text.replace("'", "").replace("\\", "")
    return f"'{plain}'"


WRITERS: Final[Mapping[str, Callable[[], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
