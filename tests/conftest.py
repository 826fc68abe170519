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

from tests.notebooks import tolerance

CONDITIONS = {
    "DLFB_PROGRESS": "0",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# Where the stored outputs were made, so that a machine's accelerator does not change them.
OF_A_PAGE = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
# What a person may have set, and a hash seed, must not decide what a test sees.
UNSET = ("DLFB_EDITION", "DLFB_ASSETS", "DLFB_CHECKPOINTS", "PYTHONHASHSEED")

hypothesis.settings.register_profile("dlfb", derandomize=True, deadline=None)
hypothesis.settings.load_profile("dlfb")


def pytest_configure(config):
    # As a plugin, since the hooks of a conftest.py are called for its own folder's tests only.
    config.pluginmanager.register(Conditions(), "dlfb-conditions")


class Conditions:
    """Sets the conditions before each test, and says at the end how long what took."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self.folder = Path(tempfile.mkdtemp(prefix="dlfb-test-"))
        self.own = {name: os.environ.get(name) for name in OF_A_PAGE}
        for name in UNSET:
            os.environ.pop(name, None)
        os.environ.update(CONDITIONS)
        self.set(of_a_page=False)

    def set(self, of_a_page: bool) -> None:
        os.environ["DLFB_CACHE"] = str(self.folder / ("pages" if of_a_page else "units"))
        # A kernel draws into the page only where no other way of drawing is asked for.
        page, unit = {"MPLBACKEND": None, **OF_A_PAGE}, {"MPLBACKEND": "agg", **self.own}
        for name, value in (page if of_a_page else unit).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        self.set(of_a_page=item.path.suffix == ".ipynb")

    def pytest_collectstart(self, collector):
        if hasattr(collector, "skip_compare"):
            collector.skip_compare += tolerance.NOT_COMPARED

    def pytest_itemcollected(self, item):
        if hasattr(item, "format_output_compare"):
            tolerance.compare_nearly(item)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid.split("::")[0]] += report.duration

    def pytest_terminal_summary(self, terminalreporter):
        pages = {name: s for name, s in self.seconds.items() if name.endswith(".ipynb")}
        everything = sum(self.seconds.values())
        terminalreporter.section("time")
        for name, seconds in sorted(pages.items()):
            terminalreporter.line(f"{seconds:7.1f} s  {name}")
        if pages:
            terminalreporter.line(f"{sum(pages.values()):7.1f} s  {len(pages)} pages")
        terminalreporter.line(f"{everything - sum(pages.values()):7.1f} s  unit tests")

    def pytest_unconfigure(self):
        shutil.rmtree(self.folder, ignore_errors=True)
