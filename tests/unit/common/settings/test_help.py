"""The help of a program with many settings: grouped, with examples, and without words that only programmers know."""

from typing import ClassVar, Literal

import pytest

from clusterodm.deploy.settings import UpSettings
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.fields import Field
from clusterodm.libs.common.settings.flags import Help, help_lines
from clusterodm.libs.common.settings.settings import CommonSettings, load
from clusterodm.services.admin.settings import AdminSettings
from clusterodm.services.autoscaler.settings import AutoscalerSettings
from clusterodm.services.proxy.settings import SHORTCUTS, ProxySettings
from clusterodm.services.scheduler.settings import SchedulerSettings

ALL = (UpSettings, ProxySettings, SchedulerSettings, AutoscalerSettings, AdminSettings)


class ShopSettings(CommonSettings):
    """A shop."""

    group: ClassVar[str] = "Shop"
    door_port: int = Field(80, description="port of the door")
    open_s: float = Field(1800.0, description="how long it is open")
    door_min_rate_bytes_per_s: int = Field(5, description="how fast it is opened at least")
    key: Secret | None = Field(None, description="of the door")
    kind: Literal["food", "books"] = Field("food", description="what is sold")
    lit: bool = Field(True, description="with light")
    dogs: bool = Field(False, description="with dogs")


def text(cls: type[CommonSettings], *, whole: bool = True, width: int = 100) -> str:
    told = Help("prog", cls.__doc__ or "", cls.examples, cls.everyday)
    return "\n".join(help_lines(cls.settings, told, SHORTCUTS, whole=whole, width=width))


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_no_help_shows_empty_defaults_or_names_of_types(cls: type[CommonSettings]) -> None:
    shown = text(cls)
    assert [
        word for word in ("(default: )", "None", "Secret", "list[", " str ", " float ", "[]") if word in shown
    ] == []


@pytest.mark.parametrize("width", [60, 80, 110])
@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_help_is_as_wide_as_the_terminal(cls: type[CommonSettings], width: int) -> None:
    wide = [line for line in text(cls, width=width).splitlines() if len(line) > width and len(line.split()) > 1]
    assert [line for line in wide if not line.startswith(("  --", "  prog"))] == []


def test_a_flag_says_what_it_wants_and_what_holds_without_it() -> None:
    shown = text(ShopSettings)
    for line in (
        "  --door-port PORT              port of the door (default: 80)",
        "  --open-s SECONDS              how long it is open (default: 1800)",
        "  --door-min-rate-bytes-per-s BYTES_PER_S",
        "  --key SECRET                  of the door",
        "  --kind food|books             what is sold (default: food)",
        "  --[no-]lit                    with light (default: yes)",
        "  --[no-]dogs                   with dogs",
    ):
        assert line in shown.splitlines()
    assert shown.index("Shop:") < shown.index("This process:")


def test_the_help_of_a_whole_cluster_is_what_is_needed_every_day_and_there_is_more() -> None:
    short, whole = text(UpSettings, whole=False), text(UpSettings)
    assert len(short.splitlines()) < 80
    assert "--help-all" in short
    assert [name for name in UpSettings.everyday if f"{name.replace('_', '-')} " not in short] == []
    assert [name for name in UpSettings.settings if f"{name.replace('_', '-')}" not in whole] == []
    assert "--node 192.168.1.20:3000" in short


def test_every_everyday_flag_is_a_setting() -> None:
    assert [name for cls in ALL for name in cls.everyday if name not in cls.settings] == []


@pytest.mark.parametrize("flag", ["-h", "--help", "--help-all"])
def test_help_is_printed_and_ends_the_program_well(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        load(ShopSettings, [flag], "prog")
    assert leaving.value.code == 0
    assert "--door-port" in capsys.readouterr().out
