"""How figures and tables look. Nothing happens until a page asks for it."""

from dlfb.utils.display import running_ipython

#: Okabe and Ito (2008), without yellow and black: told apart with any common colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#999999")


def configure_figures_and_table_display() -> None:
    """Set matplotlib and pandas up for a page, where a table shows at most 12 rows and columns."""
    import matplotlib as mpl
    import pandas as pd

    mpl.rcParams.update(
        {
            "axes.prop_cycle": mpl.cycler(color=PALETTE),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": 12,
            "axes.labelsize": 11,
            "figure.constrained_layout.use": True,
            "figure.dpi": 96,
            "figure.figsize": (7, 4),
            "font.size": 11,
            "legend.frameon": False,
            "savefig.dpi": 192,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
        }
    )
    shown = {"max_rows": 12, "max_columns": 12, "max_colwidth": 50, "width": 100, "precision": 3}
    for name, value in shown.items():
        pd.set_option(f"display.{name}", value)

    ipython = running_ipython()
    if ipython and hasattr(ipython.get_ipython(), "kernel"):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")
