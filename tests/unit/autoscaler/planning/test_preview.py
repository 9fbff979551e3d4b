"""`clusterodm asr plan`: what would be done and why, with and without a cluster, and nothing is done."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusterodm.deploy.cli import main
from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.machines import ImaginedTasks, PlanMachines, imagined
from clusterodm.services.autoscaler.config.core.configuration import OwnerBudget, ScalingLimits
from clusterodm.services.autoscaler.planning.core.preview import planned_alone
from tests.autoscaler_world import SIZES, World

NO_CARD = "wait 1 x task: no machine size has a graphics card, which its options ask for"
GUEST_HAS_SPENT = "wait 1 x task: over budget of guest: machines cost 1 per hour, 1 more exceeds 1.5"
REPOSITORY = Path(__file__).parents[4]
PAGE = (REPOSITORY / "docs" / "autoscaler.md").read_text(encoding="utf-8")
SLURM = REPOSITORY / "docs" / "examples" / "slurm" / "asr-slurm.json"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[{", "not a list of tasks: Input data was truncated", id="no JSON"),
        pytest.param("{}", "not a list of tasks: Expected `array`, got `object`", id="no list"),
        pytest.param('[{"images": "ten"}]', "Expected `int | null`, got `str` - at `$[0].images`", id="no number"),
        pytest.param('[{"images": -1}]', "Expected `int` >= 0 - at `$[0].images`", id="less than none"),
        pytest.param('[{"image": 1}]', "Object contains unknown field `image` - at `$[0]`", id="unknown key"),
        pytest.param('[{"images": 1, "count": 2000}, {"images": 1}]', "more than 2000 tasks", id="too many"),
    ],
)
def test_a_file_of_tasks_is_checked_at_once(text: str, told: str):
    with pytest.raises(Refused, match=re.escape(told)):
        imagined(text)


def test_the_same_is_said_once_and_counted():
    limits = ScalingLimits(sizes=SIZES, machines_count=3)
    steps = planned_alone(limits, (ImaginedTasks(images=10, count=4), ImaginedTasks(images=900)), WallMs(10**9))
    assert [str(step) for step in steps] == [
        "create 3 x small: a task of 10 images waits",
        "wait 1 x task: the limit of 3 machines is reached",
        "wait 1 x task: no machine size takes 900 images (the largest 500)",
    ]


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        pytest.param(
            {"owner": "guest", "count": 2},
            ["create small: a task of 10 images waits", GUEST_HAS_SPENT],
            id="an owner with a budget",
        ),
        pytest.param({"owner": "survey", "count": 2}, ["create 2 x small: a task of 10 images waits"], id="another"),
        pytest.param({"gpu": True}, [NO_CARD], id="no card"),
        pytest.param({"labels": ["gpu"]}, ["wait 1 x task: machines have no label gpu"], id="confined to other nodes"),
        pytest.param(
            {"interruptions": 1},
            ["create small: a task of 10 images waits; on demand, since its machine was taken away"],
            id="its spot machine was taken away",
        ),
    ],
)
def test_what_tells_tasks_apart_is_planned_with(tasks: dict[str, Any], told: list[str]):
    (small, _) = SIZES
    sizes = (replace(small, price_per_hour=1.0),)
    limits = ScalingLimits(sizes=sizes, budgets={"guest": OwnerBudget(max_hourly_cost=1.5)})
    demand = imagined(json.dumps([{"images": 10} | tasks]))
    assert [str(step) for step in planned_alone(limits, demand, WallMs(10**9))] == told


async def test_a_running_autoscaler_says_what_it_would_do_and_does_nothing():
    async with World() as world:
        await world.scheduler.submit("t")
        await world.turn(8)
        before = [(each.id, each.state) for each in world.machines()]
        asked = PlanMachines(demand=(ImaginedTasks(images=10, count=2), ImaginedTasks(images=400)))
        steps = (await world.autoscaler.commands.plan(asked)).steps
        assert [(step.act, step.what, step.count) for step in steps if step.act == "create"] == [
            ("create", "small", 2),
            ("create", "large", 1),
        ]
        assert [(each.id, each.state) for each in world.machines()] == before
        assert (await world.autoscaler.commands.plan(PlanMachines())).steps == ()
        await world.settle()
        assert len(world.cloud.created) == 1


def test_the_example_of_the_page_is_what_the_program_says(tmp_path: Path, capsys: Any):
    (block,) = re.findall(r"```\n\$ cat demand\.json\n(.*?)```", PAGE, re.DOTALL)
    content, _, told = block.partition("\n$ clusterodm asr plan --asr asr-slurm.json --demand demand.json\n")
    demand = tmp_path / "demand.json"
    demand.write_text(json.dumps(json.loads(content)))
    assert main(["asr", "plan", "--asr", str(SLURM), "--demand", str(demand)]) == 0
    assert capsys.readouterr().out == told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["--asr", "missing.json"], "missing.json: No such file or directory", id="no configuration"),
        pytest.param(["--asr", str(SLURM), "--demand", "missing.json"], "missing.json: No such file", id="no tasks"),
    ],
)
def test_mistakes_are_told_in_a_line(words: list[str], told: str, capsys: Any):
    assert main(["asr", "plan", *words]) == 2
    assert told in capsys.readouterr().err
