"""What a chaos test did, printed: `pytest -s` shows it while it happens, a failure shows it afterwards."""


def say(what: str) -> None:
    """Print a line at once."""
    print(what, flush=True)  # noqa: T201 the output of these tests is for people
