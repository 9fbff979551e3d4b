"""So many of something, as people read it: 1 task, 2 tasks, 3 proxies. Pure."""


def several(noun: str, count: float) -> str:
    """Name a thing, or several of it, as many as there are."""
    if count == 1:
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def amount(count: int, noun: str) -> str:
    """Say how many there are of a thing."""
    return f"{count} {several(noun, count)}"
