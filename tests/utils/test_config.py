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


def test_calling_it_twice_is_calling_it_once(settings_put_back):
    configure_figures_and_table_display()
    once = dict(mpl.rcParams)
    configure_figures_and_table_display()
    assert dict(mpl.rcParams) == once


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


def luminance(color):
    channels = np.array(mpl.colors.to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_every_colour_stands_out_from_the_white_page():
    for color in PALETTE:
        assert 1.05 / (luminance(color) + 0.05) > 1.9, color
    assert len(set(PALETTE)) == len(PALETTE)
