"""How full a spool is, for who counts."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SpoolFigures:
    """Entries, and the disk that they lie on."""

    open_count: int
    """Uploads that are not committed."""
    tasks_count: int
    """All entries."""
    unsubmitted_count: int
    free_bytes: int
    """0 where the directory is gone."""
    size_bytes: int
    reserve_bytes: int
    """Uploads are refused when less than that is free."""
