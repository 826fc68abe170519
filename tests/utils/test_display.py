import functools
import sys

import pytest

from dlfb.utils import display as shown
from dlfb.utils.display import display, print_short_dict, progress


def teach(x):
    """Double a number."""
    return 2 * x


class Page:
    """A page of the book."""

    def turn(self):
        """Go on."""
        return "next"


def test_a_functions_source_is_printed(capsys):
    display(teach)
    out = capsys.readouterr().out
    assert out == 'def teach(x):\n    """Double a number."""\n    return 2 * x\n'


def test_a_class_and_a_method_are_printed_whole(capsys):
    display(Page)
    assert 'return "next"' in capsys.readouterr().out
    display(Page.turn)
    out = capsys.readouterr().out
    assert out == 'def turn(self):\n    """Go on."""\n    return "next"\n'


def test_wrapped_functions_show_what_was_written(capsys):
    import jax

    @functools.wraps(teach)
    def wrapper(*args):
        return teach(*args)

    class Wrapper:
        def __call__(self, *args):
            return teach(*args)

    instance = functools.update_wrapper(Wrapper(), teach)
    for wrapped in (wrapper, instance, functools.partial(teach, 2), jax.jit(teach)):
        display(wrapped)
        assert capsys.readouterr().out.startswith("def teach(x):")


@pytest.mark.parametrize("thing", [3, "text", len, [1, 2], Page()])
def test_other_things_are_printed(capsys, thing):
    display(thing)
    assert capsys.readouterr().out == f"{thing}\n"


def test_a_notebook_gets_highlighted_markdown(capsys, monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            display(teach)
            display(3)
        source, number = captured.outputs
        assert source.data["text/markdown"].startswith("```python\ndef teach(x):")
        assert source.data["text/markdown"].endswith("return 2 * x\n```")
        assert source.data["text/plain"].startswith("def teach(x):")
        assert number.data["text/plain"] == "3"
    finally:
        InteractiveShell.clear_instance()
        del shell


def test_a_fence_in_the_source_does_not_end_the_block(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    monkeypatch.setattr(shown, "_source_of", lambda thing: 'x = "```"\n')
    InteractiveShell.instance()
    try:
        with capture_output() as captured:
            display(teach)
        assert captured.outputs[0].data["text/markdown"] == '`````python\nx = "```"\n`````'
    finally:
        InteractiveShell.clear_instance()


def test_a_short_dict_is_printed_whole(capsys):
    print_short_dict({"M": 16, "A": 12})
    assert capsys.readouterr().out == "{\n  'M': 16,\n  'A': 12,\n} (2 entries)\n"
    print_short_dict({})
    assert capsys.readouterr().out == "{} (0 entries)\n"
    print_short_dict({1: "x" * 100})
    line = capsys.readouterr().out.splitlines()[1]
    assert line.endswith("...,")
    assert len(line) < 80


@pytest.mark.parametrize("max_entries", [1, 2, 3, 10])
def test_a_long_dict_says_how_many_are_left_out(capsys, max_entries):
    print_short_dict(dict.fromkeys(range(2000)), max_entries=max_entries)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == max_entries + 3
    assert lines[1] == "  0: None,"
    assert f"  ... ({2000 - max_entries:,} more)" in lines
    assert lines[-1] == "} (2,000 entries)"
    if max_entries > 1:
        assert lines[-2] == "  1999: None,"


def test_a_dict_of_no_entries_is_refused():
    with pytest.raises(ValueError, match="max_entries must be 1 or more, not 0"):
        print_short_dict({1: 1}, max_entries=0)


def test_progress_goes_to_stderr_and_can_be_silenced(capsys, monkeypatch):
    monkeypatch.delenv("DLFB_PROGRESS", raising=False)
    assert list(progress(range(3), desc="Embedding", unit="residue")) == [0, 1, 2]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Embedding" in captured.err
    monkeypatch.setenv("DLFB_PROGRESS", "0")
    with progress(total=5, desc="Embedding") as bar:
        bar.update(5)
    assert list(progress(iter("ab"))) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_importing_it_imports_no_ipython():
    import subprocess

    code = "import sys, dlfb.utils.display as d; d.display(3); print('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "3\nFalse\n"
