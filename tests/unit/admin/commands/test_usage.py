"""What tenants have used, on every road: telnet, command line, CSV, JSON."""

import argparse
import csv
import io

import pytest

from clusterodm.libs.common.messages.usage import GetUsage, UsageBy, UsageRow, Used
from clusterodm.libs.common.model.values import Owner
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.cli.core.asking import command_of
from clusterodm.services.admin.cli.core.grammar import read
from clusterodm.services.admin.cli.core.tables import human
from clusterodm.services.admin.commands.core.answers import Failed, UsageReport
from clusterodm.services.admin.commands.core.commands import ShowUsageCommand
from clusterodm.services.admin.commands.handlers.execute import execute
from clusterodm.services.admin.rendering.answers import document, render
from clusterodm.services.admin.rendering.usage import usage_csv
from clusterodm.services.admin.telnet.core.grammar import parse
from tests.fake_scheduler import FakeScheduler

USED = Used(
    completed_count=2, failed_count=1, images_count=90, size_bytes=1_500_000, node_ms=5_400_000, machine_cost=0.5
)
ROWS = (
    UsageRow(tenant="survey", owner=Owner("survey"), period="2026-11", used=USED),
    UsageRow(tenant="", period="2026-11", used=Used(canceled_count=1)),
)


async def test_all_pages_are_one_answer():
    fake = FakeScheduler()
    fake.usage, fake.page_count = [*ROWS] * 3, 2
    bus = MemoryBus()
    async with bus.serve("scheduler", fake.handlers()):
        answer = await execute(bus, ShowUsageCommand())
    assert isinstance(answer, UsageReport)
    assert answer.rows == ROWS * 3
    assert answer.total.completed_count == 6


async def test_a_day_that_there_is_not_is_told():
    bus = MemoryBus()
    async with bus.serve("scheduler", FakeScheduler().handlers()):
        answer = await execute(bus, ShowUsageCommand(GetUsage(since="2026-02-30")))
    assert answer == Failed("there is no such day")


def test_csv_is_for_programs():
    survey, nobody = csv.DictReader(io.StringIO(usage_csv(ROWS)))
    assert survey == {
        "tenant": "survey",
        "owner": "survey",
        "period": "2026-11",
        "tasks": "3",
        "completed": "2",
        "failed": "1",
        "canceled": "0",
        "images": "90",
        "bytes": "1500000",
        "node_seconds": "5400.0",
        "machine_cost": "0.5",
    }
    assert nobody["tenant"] == ""


def test_no_name_is_computed_by_a_program_for_tables():
    (row,) = csv.DictReader(io.StringIO(usage_csv([UsageRow(tenant="=HYPERLINK(1)", used=USED)])))
    assert row["tenant"] == "'=HYPERLINK(1)"


def test_people_see_a_table_with_a_sum():
    lines = human(UsageReport(ROWS, USED)).splitlines()
    assert [line.split()[0] for line in lines] == ["TENANT", "survey", "(no", "total"]
    assert lines[1].split()[2:] == ["3", "2", "1", "0", "90", "1.5", "MB", "1.50", "0.50"]


def test_the_sum_is_beside_the_rows_in_json():
    said = document(UsageReport(ROWS, USED))
    assert (said["usage"][0]["node_seconds"], said["total"]["tasks"]) == (5400.0, 3)


def test_telnet_shows_csv():
    assert render(UsageReport(ROWS, USED)).splitlines()[1].startswith("survey,survey,2026-11,3,")


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("tenant usage", GetUsage()),
        ("TENANT USAGE survey", GetUsage(tenant="survey")),
        ("TENANT USAGE * 2026-10 2026-11-05", GetUsage(since="2026-10", until="2026-11-05")),
    ],
)
def test_telnet_has_the_word(line: str, asked: GetUsage):
    assert parse(line) == ShowUsageCommand(asked)


def test_the_command_line_has_the_word():
    words = ["tenant", "usage", "survey", "--since", "2026-11", "--by", "day", "-o", "csv"]
    given: argparse.Namespace = read(words, 80)
    assert command_of(given) == ShowUsageCommand(GetUsage(tenant="survey", since="2026-11", by=UsageBy.DAY))
    assert given.output == "csv"
