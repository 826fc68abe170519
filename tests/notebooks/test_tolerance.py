"""Each kind of difference between outputs is seen passing or failing, in text and through nbval."""

import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output

from tests.notebooks.tolerance import difference
from tools.build_book import ROOT


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("auPRC 0.612", "auPRC 0.62"),
        ("GO:0004930  0.949", "GO:0004930      0.94"),  # the columns of a table move
        ("<td>0.5</td>", "<td>0.509</td>"),
        ("[-0.01 .25]", "[-0.001 .26]"),
        ("(0.61,0.70)", "(0.62,0.69)"),
        ("0.58-0.64", "0.59-0.65"),
        ("12,345.6 residues/s", "12,400.1 residues/s"),
        ("5e-07", "3.1e-06"),
        ("<svg><path d='M 1 2'/></svg>", "<svg><path d='M 9 9'/><g/></svg>"),
        ("took 1.5 s", "took 1 min 27 s"),
        ("3/3 [00:01<00:00, 2.9it/s]", "3/3 [00:20<00:00, 7.1s/it]"),
        ("<p>viewer_1 at 0x7f3a", "<p>viewer_179530000002 at 0x1b"),
    ],
)
def test_what_may_differ(stored, shown):
    assert difference(stored, shown) is None and difference(shown, stored) is None


@pytest.mark.parametrize(
    ("stored", "shown", "words"),
    [
        ("auPRC 0.612", "auPRC 0.63", "0.63 is too far from the stored 0.612"),
        ("9,911.5", "9,400.1", "too far"),
        ("loss 1e3", "loss 2e3", "too far"),
        ("0.6", "-0.6", "too far"),
        ("1,087 proteins", "1,088 proteins", "'1,088' is where '1,087' is stored"),
        ("P01308", "P01309", "'01309' is where"),
        ("Python 3.11.7", "Python 3.11.8", "'8' is where '7'"),
        ("mean 0.61", "median 0.61", "'median' is where 'mean'"),
        ("0.61", "nan", "'nan' is where '0.61'"),
        ("0.61 0.62", "0.61", "'0.62' is stored, and missing"),
        ("0.61", "0.61 0.62", "'0.62' is new"),
        ("a figure", "<svg>", "'<' is where 'a'"),
        ("took 1.5 s", "took long", "'long' is where '~'"),
    ],
)
def test_what_may_not(stored, shown, words):
    assert words in difference(stored, shown)


# The whole way through nbval


def nbval(path) -> subprocess.CompletedProcess:
    """Compare a page with nbval, as `make test` does."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval"]
    command += ["--nbval-current-env", "--rootdir", str(path.parent), "-c", "/dev/null"]
    command += ["-p", "tests.conftest", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_nbval_holds_what_matters_and_lets_pass_what_does_not(tmp_path):
    def stored(source, **data):
        output = new_output("execute_result", data=data, execution_count=1)
        return new_code_cell(source, execution_count=1, outputs=[output])

    def html(shown, was):
        source = f"from IPython.display import HTML; HTML('{shown}')"
        plain = "<IPython.core.display.HTML object>"
        return stored(source, **{"text/html": was, "text/plain": plain})

    svg = "from IPython.display import SVG; SVG('<svg xmlns=\"a\"><g/></svg>')"
    cells = [
        stored("'took 1.5 s, 0.612'", **{"text/plain": "'took 27.25 s, 0.62'"}),
        html("<p>viewer_179530000002", "<p>viewer_1"),
        html("<td>0.501</td>", "<td>0.498</td>"),
        html("<svg><g/></svg>", "<svg><path/></svg>"),
        stored(svg, **{"image/svg+xml": "<svg><g><g/></g></svg>",
                       "text/plain": "<IPython.core.display.SVG object>"}),
        stored("1 + 1", **{"text/plain": "3"}),
        stored("0.5 + 0.1", **{"text/plain": "0.7"}),
        html("<td>2</td>", "<td>3</td>"),
        new_code_cell("print('a word')", execution_count=1,
                      outputs=[new_output("stream", name="stdout", text="a verb\n")]),
    ]  # fmt: skip
    path = tmp_path / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    done = nbval(path)
    failed = re.findall(r"^FAILED .*Cell (\d)", done.stdout, re.MULTILINE)
    assert failed == ["5", "6", "7", "8"], done.stdout[-3000:]
    assert "0.6 is too far from the stored 0.7" in done.stdout
    assert "'word' is where 'verb' is stored" in done.stdout
