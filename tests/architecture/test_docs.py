"""What the documents draw is what the code has."""

from pathlib import Path

from services.scheduler.core.tasks import LIFE

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"
BEGIN, END = "<!-- life: begin -->", "<!-- life: end -->"


def drawn() -> str:
    """Draw the life of a task from its table."""
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {state or '[*]'} --> {target}: {step}" for (state, step), target in LIFE.items()]
    return "\n".join([*lines, "```"])


def test_the_diagram_of_a_tasks_life_is_drawn_from_the_table():
    text = ARCHITECTURE.read_text(encoding="utf-8")
    shown = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == drawn(), f"docs/architecture.md should say:\n{drawn()}"
