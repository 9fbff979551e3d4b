"""pytest's side of the suite: `pytest --provider mypackage:Provider` collects it and nothing else.

Without `--provider` it does nothing, and loads nothing: pytest finds it wherever ClusterODM is installed.
"""

import importlib
from pathlib import Path
from typing import Any

import pytest

SUITE = Path(__file__).parent / "suite.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the provider that is on trial."""
    group = parser.getgroup("clusterodm", "the contract of ClusterODM's providers")
    group.addoption("--provider", metavar="MODULE:CLASS", help="run the contract of providers against this one")
    group.addoption("--trial", metavar="MODULE:FUNCTION", help="what it is tried with (default: the class's `trial`)")


def pytest_configure(config: pytest.Config) -> None:
    """Run the suite where a provider is named, and no other file was asked for."""
    if not config.getoption("--provider"):
        return
    needs_asyncio(config)
    config.pluginmanager.import_plugin("clusterodm.contract.fixtures")
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(SUITE)]


def needs_asyncio(config: pytest.Config) -> None:
    """Say in a line what is missing. Raises pytest.UsageError."""
    if not config.pluginmanager.hasplugin("asyncio"):
        raise pytest.UsageError("the contract of providers needs more: pip install 'clusterodm[contract]'")


def named(place: str) -> Any:
    """Find what `module:name` names. Raises pytest.UsageError."""
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"{place!r}: {type(error).__name__}: {error}") from None
