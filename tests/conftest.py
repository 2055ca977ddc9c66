"""Shared settings: offline, deterministic Hypothesis profiles, and the --slow option."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there is a worker for every core
else:
    # empty at the start, and inherited by workers and commands: every certificate is found anew, once in a run
    os.environ["FDIV_CACHE"] = tempfile.mkdtemp(prefix="fdiv-tests-")

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

WHOLE_CATALOGUE = {
    f"tests/fdiv/{name}.py"
    for name in (
        "derive/test_gaussian",
        "show/test_readable",
        "test_catalogue",
        "test_command_line",
        "test_losses",
        "test_spec",
    )
}
"""The files that ask every divergence: one worker runs them all, so that each divergence is derived once."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption(
        "--divergence", metavar="DIVERGENCE", help="run the specification on one: FILE.py:NAME, a name or a generator"
    )


def pytest_configure(config: pytest.Config) -> None:
    own = config.getoption("--divergence")
    if own is not None:
        import fdiv

        try:
            fdiv.resolve(own)
        except ValueError as error:
            raise pytest.UsageError(f"--divergence: {error}") from None


def pytest_unconfigure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["FDIV_CACHE"], ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Schedule by file, as --dist=loadfile says, with the files of the whole catalogue as one."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "the whole catalogue" if file in WHOLE_CATALOGUE else file

    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    own, failed = config.getoption("--divergence"), terminalreporter.stats.get("failed")
    if own or failed or "spec" in config.getoption("-k"):
        from tests.laws import law_table

        law_table.write(terminalreporter, own)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--divergence"):  # its laws alone
        kept = [item for item in items if "divergence" in getattr(item, "fixturenames", ()) and _of_the_laws(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            for item in items:
                if item.get_closest_marker("gpu"):
                    item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _of_the_laws(item: pytest.Item) -> bool:
    return item.path.name == "test_spec.py"
