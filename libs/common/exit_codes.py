"""Exit codes of all programs; docs/exit-codes.md says what ends with which."""

from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
"""It could not be done, or the answer is no."""
EXIT_USAGE: Final = 2
"""Wrong usage, or a mistake in a setting or a file."""
EXIT_UNAVAILABLE: Final = 3
"""The cluster does not answer."""
EXIT_REFUSED: Final = 78
"""What it was told to work with will not do (EX_CONFIG of sysexits.h): keys that nobody takes, a program that is not there."""
EXIT_NO_PROGRAM: Final = 127
EXIT_INTERRUPTED: Final = 128 + 2
"""As shells say it of SIGINT."""
