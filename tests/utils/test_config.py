import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd

from dlfb.utils.config import PALETTE, configure_figures_and_table_display


def test_it_sets_figures_and_tables():
    with mpl.rc_context():
        configure_figures_and_table_display(max_rows=6)
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(PALETTE)
        assert not mpl.rcParams["axes.spines.top"]
        assert mpl.rcParams["font.size"] >= 10
    lines = repr(pd.DataFrame(np.ones((20, 50)))).splitlines()
    pd.reset_option("^display")
    assert len(lines) <= 6 + 4 and max(map(len, lines)) <= 100


def test_importing_it_imports_neither_matplotlib_nor_pandas():
    code = "import sys, dlfb.utils.config; print({'matplotlib', 'pandas'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
