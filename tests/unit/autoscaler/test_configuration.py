"""An `--asr` file is checked at once, and every mistake is one sentence."""

from pathlib import Path

import pytest

from libs.common.errors import Refused
from services.autoscaler.adapters.asr_file import AsrFile
from services.autoscaler.core.configuration import PROVIDERS, check
from services.autoscaler.main import configured


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_of_the_original_is_known(provider: str):
    assert check({"provider": provider, "accessToken": "x"}).provider == provider


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param([], "must hold a JSON object", id="not an object"),
        pytest.param({}, "names no provider", id="no provider"),
        pytest.param({"provider": ""}, "names no provider", id="empty provider"),
        pytest.param({"provider": "azure"}, "unknown provider 'azure'", id="unknown provider"),
        pytest.param({"provider": ["aws"]}, "unknown provider", id="provider of the wrong type"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(content: object, sentence: str):
    with pytest.raises(Refused, match=sentence):
        check(content)


async def test_no_file_is_no_configuration():
    assert await AsrFile("").read() is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("{", "is not valid JSON", id="broken JSON"),
        pytest.param("\xff", "is not valid JSON", id="not UTF-8"),
        pytest.param('{"provider": "nope"}', "unknown provider 'nope'", id="unknown provider"),
    ],
)
async def test_a_mistake_in_the_file_is_told_with_its_path(tmp_path: Path, text: str, sentence: str):
    path = tmp_path / "asr.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Refused, match=f"asr.json.*{sentence}"):
        await AsrFile(str(path)).read()


async def test_an_unreadable_file_ends_the_start_in_the_original_words(tmp_path: Path):
    with pytest.raises(Refused, match=r"Cannot initialize ASR: .*No such file"):
        await configured(AsrFile(str(tmp_path / "missing.json")))
