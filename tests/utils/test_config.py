import matplotlib as mpl
import numpy as np
import pandas as pd

from dlfb.utils.config import PALETTE, configure_figures_and_table_display


def test_it_sets_figures_and_tables():
    with mpl.rc_context():
        configure_figures_and_table_display()
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(PALETTE)
    lines = repr(pd.DataFrame(np.ones((20, 50)))).splitlines()
    pd.reset_option("^display")
    assert len(lines) <= 12 + 4 and max(map(len, lines)) <= 100
