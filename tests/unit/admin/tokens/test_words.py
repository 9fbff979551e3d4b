"""`clusterodm token ...` and `clusterodm tenant ...` on a file."""

import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.libs.common.tenancy import TokenBook, digest_of, read_tokens, shown
from clusterodm.services.admin.cli.core.completion import FILE_NOUNS, flags_of
from clusterodm.services.admin.tenants.adapters import changing
from clusterodm.services.admin.tenants.core.file import duration_ms, size_bytes
from clusterodm.services.admin.tokens.grammar import parser
from clusterodm.services.admin.tokens.words import main

NOTHING_YET = '{"tenants": [], "tokens": []}'


class Words:
    """Says words about one file."""

    def __init__(self, path: Path, said: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._said = said
        self.errors = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        """Say one; what it prints."""
        assert main([*words, "--tokens", str(self.path)]) == code
        output, self.errors = self._said.readouterr()
        return output.strip()

    def json(self, *words: str) -> Any:
        """Say one for programs."""
        return json.loads(self(*words, "--json"))

    def speaks_for(self, token: str, at_ms: int | None = None) -> str | None:
        """Say for whom a token speaks."""
        tenant = TokenBook(read_tokens(self.path.read_bytes())).tenant_of(shown(token), WallMs(at_ms or now_ms()))
        return tenant.name if tenant else None


@pytest.fixture
def words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Words:
    return Words(tmp_path / "new" / "tokens.json", capsys)


def test_a_new_token_is_printed_alone_and_kept_as_a_digest(words: Words) -> None:
    token = words("token", "create", "survey", "--weight", "3")
    assert words.speaks_for(token) == "survey"
    assert token not in words.path.read_text()
    assert digest_of(token) in words.path.read_text()
    assert "shown this once" in words.errors
    assert token not in words.errors
    assert stat.S_IMODE(words.path.stat().st_mode) == 0o600


def test_a_second_token_of_a_tenant_keeps_its_limits(words: Words) -> None:
    words("token", "create", "survey", "--weight", "3", "--task-size", "20GB", "--max-images", "500")
    words("token", "create", "survey", "--priority", "2")
    (tenant,) = words.json("tenant", "list")
    assert (tenant["tokens"], tenant["weight"], tenant["priority"]) == (2, 3, 2)
    assert (tenant["task_bytes"], tenant["images"]) == (20 * 10**9, 500)


def test_a_tenant_is_confined_to_labels_and_let_go_again(words: Words) -> None:
    words("token", "create", "survey", "--labels", "gpu, big,gpu")
    assert words.json("tenant", "list")[0]["labels"] == ["gpu", "big"]
    assert "gpu,big" in words("tenant", "list")
    words("tenant", "set", "survey", "--weight", "2")
    assert words.json("tenant", "list")[0]["labels"] == ["gpu", "big"], "what is not named stays"
    words("tenant", "set", "survey", "--labels", "")
    assert words.json("tenant", "list")[0]["labels"] == []
    words("tenant", "set", "survey", "--labels", "tenant=", code=2)
    assert "is no label" in words.errors


def test_a_revoked_token_counts_no_more_and_the_others_do(words: Words) -> None:
    first, second = words.json("token", "create", "survey"), words.json("token", "create", "survey")
    words("token", "revoke", first["id"][:6])
    assert words.speaks_for(first["token"]) is None
    assert words.speaks_for(second["token"]) == "survey"
    words("token", "revoke", "--tenant", "survey")
    assert words.speaks_for(second["token"]) is None


def test_a_rotated_token_counts_for_a_while_yet(words: Words) -> None:
    old = words.json("token", "create", "survey", "--expires", "30d")
    new = words("token", "rotate", old["id"], "--overlap", "1h")
    assert words.speaks_for(old["token"]) == words.speaks_for(new) == "survey"
    assert words.speaks_for(old["token"], now_ms() + 3_600_001) is None
    assert words.speaks_for(new, now_ms() + 3_600_001) == "survey"
    assert words.speaks_for(new, now_ms() + 31 * 86_400_000) is None


def test_a_token_that_is_rotated_without_overlap_is_gone(words: Words) -> None:
    old = words.json("token", "create", "survey")
    new = words("token", "rotate", old["id"], "--overlap", "0s")
    assert (words.speaks_for(old["token"]), words.speaks_for(new)) == (None, "survey")


def test_a_token_that_was_in_use_takes_its_tasks_along(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a-long-enough-secret\n"))
    assert words("token", "create", "survey", "--token-file", "-") == ""
    book = TokenBook(read_tokens(words.path.read_bytes()))
    tenant = book.tenant_of(shown("a-long-enough-secret"), WallMs(now_ms()))
    assert tenant is not None
    assert tenant.account == owner_of("a-long-enough-secret")


def test_a_list_shows_what_counts_and_no_secret(words: Words) -> None:
    valid = words.json("token", "create", "survey", "--note", "the camera van")
    words("token", "create", "guest", "--expires", "0s")
    listed = words.json("token", "list")
    assert [(row["tenant"], row["state"]) for row in listed] == [("guest", "expired"), ("survey", "valid")]
    table = words("token", "list")
    assert "the camera van" in table
    assert valid["token"] not in table
    assert digest_of(valid["token"]) not in table


def test_a_tenant_that_is_removed_takes_its_tokens_along(words: Words) -> None:
    token = words("token", "create", "survey")
    words("tenant", "remove", "survey")
    assert words.speaks_for(token) is None
    assert words.json("tenant", "list") == []


def test_limits_of_options_are_read_from_the_originals_form(words: Words, tmp_path: Path) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text('{"options": {"split": {"between": {"min": 1, "max": 5}}}}')
    words("token", "create", "survey", "--options", str(limits))
    assert words.json("tenant", "list")[0]["options"] == {"split": {"between": {"min": 1.0, "max": 5.0}}}
    limits.write_text('{"split": {"betwen": {}}}')
    words("tenant", "set", "survey", "--options", str(limits), code=2)
    assert "betwen" in words.errors


@pytest.mark.parametrize(
    ("given", "code", "reason"),
    [
        pytest.param(["token", "create", "Survey"], 2, "no name of a tenant", id="a name"),
        pytest.param(["token", "create", "a", "--weight", "0"], 2, "weight must be", id="a weight"),
        pytest.param(["token", "create", "a", "--expires", "soon"], 2, "no duration", id="a time"),
        pytest.param(["token", "create", "a", "--storage", "5 pounds"], 2, "no size", id="a size"),
        pytest.param(["token", "revoke", "nothing"], 1, "there is no token", id="an unknown token"),
        pytest.param(["token", "revoke"], 2, "which one?", id="no token"),
        pytest.param(["token", "rotate", "nothing"], 1, "there is no token", id="an unknown one to rotate"),
        pytest.param(["tenant", "set", "a"], 2, "nothing is to be changed", id="no change"),
        pytest.param(["tenant", "set", "a", "--weight", "2"], 1, "there is no tenant", id="an unknown tenant"),
        pytest.param(["tenant", "remove", "a"], 1, "there is no tenant", id="an unknown one to remove"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(words: Words, given: list[str], code: int, reason: str) -> None:
    words.path.parent.mkdir()
    words.path.write_text(NOTHING_YET)
    words(*given, code=code)
    assert reason in words.errors
    assert words.path.read_text() == NOTHING_YET


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(["token", "list"], id="list"),
        pytest.param(["token", "list", "--json"], id="list for programs"),
        pytest.param(["token", "revoke", "a"], id="revoke"),
        pytest.param(["token", "rotate", "a"], id="rotate"),
        pytest.param(["tenant", "list"], id="tenants"),
        pytest.param(["tenant", "set", "a", "--weight", "2"], id="set"),
        pytest.param(["tenant", "remove", "a"], id="remove"),
    ],
)
@pytest.mark.parametrize("by_flag", [True, False])
def test_a_file_that_is_named_and_not_there_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    by_flag: bool,
) -> None:
    path = str(tmp_path / "new" / "tokens.json")
    monkeypatch.setenv("CLUSTERODM_TOKENS", "" if by_flag else path)
    assert main([*given, *(["--tokens", path] if by_flag else [])]) == 2
    output, errors = capsys.readouterr()
    assert not output
    assert errors.splitlines() == [f"clusterodm: there is no file of tokens {path}; clusterodm token create begins it"]
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_that_has_no_file_of_tokens_yet_has_no_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "list", "--data-dir", str(tmp_path)]) == 0
    assert not capsys.readouterr().err


def test_a_damaged_file_is_not_written_over(words: Words) -> None:
    words("token", "create", "survey")
    words.path.write_text("{")
    words("token", "create", "survey", code=2)
    assert words.path.read_text() == "{"


def test_the_rights_of_a_file_stay_as_they_were_but_nobody_else_may_change_it(words: Words) -> None:
    words("token", "create", "survey")
    words.path.chmod(0o664)
    words("token", "create", "survey")
    assert stat.S_IMODE(words.path.stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_belongs_to_whom_the_directory_belongs(words: Words) -> None:
    """Else the cluster, which runs as that user, could neither read the file nor ever change it."""
    words.path.parent.mkdir()
    os.chown(words.path.parent, 12345, 12346)
    words("token", "create", "survey")
    made = list(words.path.parent.iterdir())
    assert {(path.name, path.stat().st_uid, path.stat().st_gid) for path in made} == {
        ("tokens.json", 12345, 12346),
        (".tokens.json.lock", 12345, 12346),
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_a_directory_that_root_makes_belongs_to_whom_the_one_above_it_belongs(words: Words, tmp_path: Path) -> None:
    """Else no cluster of that user could use it."""
    os.chown(tmp_path, 12345, 12346)
    words.path = tmp_path / "cluster" / "data" / "tokens.json"
    words("token", "create", "survey")
    made = [words.path, *words.path.parents[:2]]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(12345, 12346)}
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o600, 0o700, 0o700]
    assert "warning" not in words.errors


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes directories of root's")
def test_a_new_directory_that_stays_roots_is_said(words: Words) -> None:
    words("token", "create", "survey")
    assert f"warning: {words.path.parent} was not there and belongs to root now" in words.errors
    words("token", "create", "survey")
    assert "warning" not in words.errors


@pytest.mark.parametrize("words_for_programs", [["-o", "json"], ["--output=json"], ["--json"]])
@pytest.mark.parametrize("noun", ["token", "tenant"])
def test_lists_are_written_for_programs(words: Words, noun: str, words_for_programs: list[str]) -> None:
    words("token", "create", "survey")
    written = words(noun, "list", *words_for_programs)
    (listed,) = json.loads(written)
    assert listed["tenant"] == "survey"
    assert msgspec.yaml.decode(words(noun, "list", "-o", "yaml")) == [listed]
    assert words(noun, "list", "-o", "wide").splitlines()[0].split()[0] in {"ID", "TENANT"}


@pytest.mark.parametrize(
    "said",
    [
        ["token", "create", "x", "--weight", "1_0"],
        ["token", "create", "x", "--weight", "٣"],
        ["token", "list", "-o", "xml"],
        ["token", "lst"],
        ["token"],
        ["tenant", "set"],
        ["token", "list", "--limit", "3"],
    ],
)
def test_a_wrong_word_is_one_line(words: Words, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(said) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("clusterodm")
    assert line.endswith("--help)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_nothing_that_was_there_before_is_given_away(words: Words, tmp_path: Path, link: Callable[..., None]) -> None:
    """Whoever owns the directory may lay a link there, to a file of root's."""
    folder, roots = words.path.parent, tmp_path / "roots"
    folder.mkdir()
    os.chown(folder, 12345, 12346)
    roots.write_text("a secret")
    link(roots, folder / ".tokens.json.lock")
    words("token", "create", "survey", code=2 if link is os.symlink else 0)
    assert (roots.stat().st_uid, roots.read_text()) == (0, "a secret")


@pytest.mark.parametrize("days", ["999999w", "400000d"])
def test_a_time_beyond_all_calendars_is_refused(words: Words, days: str) -> None:
    words("token", "create", "survey", "--expires", days, code=2)
    assert "is longer than" in words.errors
    assert not words.path.exists()


def test_a_token_that_expires_beyond_all_calendars_can_be_listed_and_revoked(words: Words) -> None:
    """As a file may say, which an earlier version has written."""
    words("token", "create", "survey", "--expires", "90d")
    file = json.loads(words.path.read_text())
    file["tokens"][0]["expires_at_ms"] = 606_000_000_000_000
    words.path.write_text(json.dumps(file))
    (listed,) = words.json("token", "list")
    assert listed["expires"].startswith("9999-12-31")
    words("token", "revoke", listed["id"])


@pytest.mark.parametrize(
    ("text", "ms"), [("0s", 0), ("30m", 1_800_000), ("12h", 43_200_000), ("90d", 7_776_000_000), ("1w", 604_800_000)]
)
def test_durations_are_read(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("500MB", 500_000_000), ("1.5 tb", 1_500_000_000_000)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert size_bytes(text) == size


def test_the_file_may_be_named_by_its_data_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTERODM_TOKENS", str(tmp_path / "other.json"))
    assert main(["token", "create", "survey", "--data-dir", str(tmp_path)]) == 0
    assert (tmp_path / "tokens.json").exists()
    capsys.readouterr()
    assert main(["tenant", "list", "--data-dir", str(tmp_path)]) == 0
    assert "survey" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("counting", "said"),
    [
        ("", "lets everybody in, until it is started again with --tokens"),
        ("/etc/other.json", "takes the tokens of /etc/other.json, until it is started again with --tokens"),
        (None, ""),
        ("tokens.json", ""),
    ],
    ids=["none", "others", "an earlier version", "these"],
)
def test_a_token_that_does_not_count_in_the_cluster_that_runs_there_says_so(
    counting: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counting = str(tmp_path / counting) if counting else counting
    (tmp_path / "cluster.json").write_text(json.dumps({"nats_url": "nats://127.0.0.1:1", "tokens": counting}))
    assert main(["token", "create", "survey", "--data-dir", str(tmp_path)]) == 0
    errors = capsys.readouterr().err
    assert said in errors
    assert ("warning" in errors) == bool(said)


def test_a_list_without_a_valid_token_says_what_that_means(words: Words) -> None:
    words.path.parent.mkdir(parents=True)
    words.path.write_text('{"tenants": [], "tokens": []}')
    words("token", "list")
    assert "lets nobody in" in words.errors
    words("token", "create", "survey")
    words("token", "list")
    assert not words.errors


def test_shells_complete_the_words_that_there_are() -> None:
    told = {noun.name: noun for noun in FILE_NOUNS}
    (nouns,) = (action for action in parser()._actions if isinstance(action.choices, dict))
    assert set(nouns.choices) == set(told)
    for noun, below in nouns.choices.items():
        (verbs,) = (action for action in below._actions if isinstance(action.choices, dict))
        known = {
            verb.name: {name for each in flags_of(verb) for name in (each.name, each.short) if name}
            for verb in told[noun].verbs
        }
        there = {name: set(verb.flags()) - {"-h", "--help"} for name, verb in verbs.choices.items() if name != "usage"}
        assert known == there


def test_ctrl_c_ends_a_word_as_shells_say_it(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.StringIO):
        def readline(self, *_: Any) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Interrupted())
    words("token", "create", "survey", "--token-file", "-", code=130)


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (None, "standard input is closed"),
        (io.StringIO(""), "there is no token in standard input"),
        (io.StringIO("s3cret\udce4\n"), "what comes from standard input is no UTF-8"),
    ],
    ids=["closed", "nothing", "no UTF-8"],
)
def test_a_token_that_does_not_come_is_one_line(
    words: Words, monkeypatch: pytest.MonkeyPatch, stdin: Any, reason: str
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    words("token", "create", "survey", "--token-file", "-", code=2)
    assert words.errors == f"clusterodm: {reason}\n"
    assert not words.path.exists()


def test_who_is_stopped_in_the_middle_of_a_change_keeps_nobody_waiting_for_ever(words: Words) -> None:
    words("token", "create", "survey")
    stopped, waiting = changing(words.path), changing(words.path, wait_s=0.1)
    with stopped, pytest.raises(Refused, match="another process has been changing"), waiting:
        raise AssertionError("two change it at once")
    words("token", "create", "survey")
