"""Showing things to a reader: source code, dictionaries, progress.

All of it works in a notebook, in IPython, and in plain Python.
"""

import functools
import inspect
import os
import sys
import textwrap
import warnings
from collections.abc import Iterable, Mapping
from typing import Any


def display(thing: Any) -> None:
    """Show the source code of a function or class, and anything else as usual.

    Parameters
    ----------
    thing : object
        For a function, class, method or module, also where it is wrapped (by
        ``jax.jit``, ``functools.partial`` or ``restorable``), its source is
        shown: highlighted in a notebook, as text elsewhere. Other things are
        shown as a notebook shows them, or printed.
    """
    source = _source_of(thing)
    # IPython is not imported where it isn't running, so that plain Python starts fast.
    ipython = sys.modules.get("IPython")
    in_shell = ipython is not None and ipython.get_ipython() is not None
    if source is None:
        if in_shell:
            ipython.display.display(thing)
        else:
            print(thing)
    elif in_shell:
        fence = "`" * 3 if "```" not in source else "`" * 5
        bundle = {"text/markdown": f"{fence}python\n{source}{fence}", "text/plain": source}
        ipython.display.display(bundle, raw=True)
    else:
        print(source, end="")


def print_short_dict(mapping: Mapping, max_entries: int = 10) -> None:
    """Print a dictionary on a line per entry, leaving out the middle of a long one.

    Parameters
    ----------
    mapping : Mapping
        The dictionary. An entry's value is cut at about 70 characters.
    max_entries : int
        How many entries to print at most, at least 1.

    Raises
    ------
    ValueError
        If `max_entries` is less than 1.

    Examples
    --------
    >>> print_short_dict({letter: i for i, letter in enumerate("abcdef")}, max_entries=3)
    {
      'a': 0,
      'b': 1,
      ... (3 more)
      'f': 5,
    } (6 entries)
    """
    if max_entries < 1:
        raise ValueError(f"print_short_dict: max_entries must be 1 or more, not {max_entries}.")
    total = len(mapping)
    hidden = max(0, total - max_entries)
    head = total if not hidden else (max_entries + 1) // 2
    lines = []
    for i, (key, value) in enumerate(mapping.items()):
        if i < head or i >= head + hidden:
            lines.append(f"  {key!r}: {_shortened(value)},")
        elif i == head:
            lines.append(f"  ... ({hidden:,} more)")
    count = f"{total:,} entr{'y' if total == 1 else 'ies'}"
    print("\n".join(["{", *lines, f"}} ({count})"]) if lines else f"{{}} ({count})")


def progress(
    iterable: Iterable | None = None,
    *,
    total: float | None = None,
    desc: str | None = None,
    unit: str = "it",
):
    """Return a progress bar, to iterate over or to use as a context manager.

    Parameters
    ----------
    iterable : Iterable, optional
        What to go through. Without it, call ``bar.update(n)`` yourself.
    total : float, optional
        The count at the end, where `iterable` has no length.
    desc, unit : str
        What is done, and what is counted.

    Returns
    -------
    tqdm.tqdm
        A widget in a notebook that has ipywidgets, text on stderr elsewhere,
        and silent where the environment variable ``DLFB_PROGRESS`` is ``0``.
    """
    silent = os.environ.get("DLFB_PROGRESS") == "0"
    with warnings.catch_warnings():
        # tqdm.auto complains once where ipywidgets is missing, then works all the same.
        warnings.simplefilter("ignore")
        if silent:
            from tqdm import tqdm
        else:
            from tqdm.auto import tqdm
    return tqdm(
        iterable, total=total, desc=desc, unit=unit, disable=silent, unit_scale=unit != "it"
    )


def _source_of(thing: Any) -> str | None:
    """Return the source code of what is code, None for anything else."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    if callable(thing) or inspect.ismodule(thing):
        thing = inspect.unwrap(thing)
    is_code = (inspect.isclass, inspect.isroutine, inspect.ismodule)
    if not any(check(thing) for check in is_code):
        return None
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):  # built in, or typed into plain Python: nothing to read
        return None
    return textwrap.dedent(source)  # a method is indented


def _shortened(value: Any, width: int = 70) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
