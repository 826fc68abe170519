import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from dlfb.utils.config import PALETTE, configure_figures_and_table_display


@pytest.fixture
def settings_put_back():
    with mpl.rc_context():
        yield
    pd.reset_option("^display")


def test_it_sets_figures_and_tables(settings_put_back):
    configure_figures_and_table_display(max_rows=6)
    assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(PALETTE)
    assert not mpl.rcParams["axes.spines.top"]
    assert mpl.rcParams["font.size"] >= 10
    table = pd.DataFrame(np.random.default_rng(0).random((20, 50)))
    assert len(repr(table).splitlines()) <= 6 + 4
    assert max(map(len, repr(table).splitlines())) <= 100


def test_importing_it_changes_nothing():
    code = """
import matplotlib as mpl, pandas as pd
before = dict(mpl.rcParams), pd.get_option("display.max_rows")
import dlfb.utils.config
assert (dict(mpl.rcParams), pd.get_option("display.max_rows")) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, dlfb.utils.config; print({'matplotlib', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
