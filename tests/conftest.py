"""The conditions under which everything is tested: offline, quiet, nothing of the person's own.

They hold for the unit tests and for the pages' kernels, which inherit the environment. The two get
a cache folder each, so that no unit test leaves a result where a page would find it.
"""

import os
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import hypothesis
import pytest

CONDITIONS = {
    "DLFB_PROGRESS": "0",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # On CPU, where the stored outputs were made. Ask for another device by setting it.
    "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"),
}
# What a person may have set, and a hash seed, must not decide what a test sees.
UNSET = ("DLFB_EDITION", "DLFB_ASSETS", "DLFB_CHECKPOINTS", "PYTHONHASHSEED")

_seconds: dict[str, float] = defaultdict(float)
_folder: list[Path] = []

hypothesis.settings.register_profile("dlfb", derandomize=True, deadline=None)
hypothesis.settings.load_profile("dlfb")


def pytest_configure(config):
    _folder.append(Path(tempfile.mkdtemp(prefix="dlfb-test-")))
    for name in UNSET:
        os.environ.pop(name, None)
    os.environ.update(CONDITIONS)
    _set_conditions(of_a_page=False)


def pytest_unconfigure(config):
    shutil.rmtree(_folder.pop(), ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    _set_conditions(of_a_page=item.path.suffix == ".ipynb")


def _set_conditions(of_a_page: bool) -> None:
    os.environ["DLFB_CACHE"] = str(_folder[0] / ("pages" if of_a_page else "units"))
    if of_a_page:
        # A kernel draws into the page; it decides so only where nothing else is asked for.
        os.environ.pop("MPLBACKEND", None)
    else:
        os.environ["MPLBACKEND"] = "agg"


def pytest_runtest_logreport(report):
    _seconds[report.nodeid.split("::")[0]] += report.duration


def pytest_terminal_summary(terminalreporter):
    pages = {name: s for name, s in _seconds.items() if name.endswith(".ipynb")}
    terminalreporter.section("time")
    for name, seconds in sorted(pages.items()):
        terminalreporter.line(f"{seconds:7.1f} s  {name}")
    terminalreporter.line(f"{sum(pages.values()):7.1f} s  {len(pages)} pages")
    terminalreporter.line(f"{sum(_seconds.values()) - sum(pages.values()):7.1f} s  unit tests")
