"""How `make test` compares what a page shows with what is stored: words exactly, numbers nearly.

A trained network's scores differ by about 0.001 from one kind of processor to another. So a
number with a decimal point or an exponent may differ by `ABSOLUTE`, or by `RELATIVE` of the stored
one where that is more. All else counts to the letter: words, signs, identifiers, and whole numbers,
which count things. White space doesn't: a longer number moves the columns of a table. Nor do
`LEFT_OUT`: the names of py3Dmol's viewers, which are the clock's, addresses in memory, and how long
a thing took ("in 12.3 s", "1 min 2 s", the rates of a progress bar).
"""

import re

ABSOLUTE, RELATIVE = 0.01, 0.02
WHOLE = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"
DECIMAL = rf"(?:{WHOLE})?\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+"
# Not the 3.11 of version 3.11.7; between two numbers a minus is a dash.
NUMBER = rf"(?<![\w.])[-+\u2212]?(?:{DECIMAL})(?!\.?\d)"
TOKEN = re.compile(rf"({NUMBER})|[^\W\d_]+|{WHOLE}|\S")
LEFT_OUT = re.compile(
    r"(?:viewer|warning)_\d+|\bat 0x[0-9a-fA-F]+|<Figure size [\d.]+x[\d.]+ with \d+ Axes>"
    r"|(?<![\w.])\d+(?:\.\d+)? ?(?:ms|s|min|seconds|minutes)\b(?: \d+ ?s\b)?|\[\d+:\d+<[^\]]*\]"
)
# Kinds of output that are never compared, besides PNG and JPEG, which nbval skips by itself:
# drawings, and py3Dmol's second copy of its HTML.
NOT_COMPARED = ("image/svg+xml", "application/3dmoljs_load.v0")


def difference(stored: str, shown: str) -> str | None:
    """Return the first difference that counts, in a sentence, or None."""
    if "<svg" in stored and "<svg" in shown:
        return None
    ours, theirs = (list(TOKEN.finditer(LEFT_OUT.sub("~", text))) for text in (stored, shown))
    for one, other in zip(ours, theirs, strict=False):
        if one.group(1) and other.group(1):
            wanted, value = map(number, (one.group(1), other.group(1)))
            if abs(value - wanted) > max(ABSOLUTE, RELATIVE * abs(wanted)) * (1 + 1e-9):
                return f"{other.group()} is too far from the stored {one.group()}"
        elif one.group() != other.group():
            return f"{other.group()!r} is where {one.group()!r} is stored"
    if len(ours) > len(theirs):
        return f"{ours[len(theirs)].group()!r} is stored, and missing now"
    if len(ours) < len(theirs):
        return f"{theirs[len(ours)].group()!r} is new: nothing is stored there"
    return None


def number(text: str) -> float:
    """Return the number that a token writes."""
    return float(text.replace(",", "").replace("\u2212", "-"))


class Shown(str):
    """A text that is equal to another where no difference counts."""

    __hash__ = None

    def __eq__(self, other):
        return difference(self, other) is None

    def __ne__(self, other):
        return not self == other


def compare_nearly(cell) -> None:
    """Let nbval's item for a code cell compare with tolerance, and say what differs."""
    sanitize, explain = cell.sanitize, cell.format_output_compare

    def nearly(output):
        text = sanitize(output)
        return Shown(text) if isinstance(text, str) else text

    def say(key, stored, shown):
        if isinstance(stored, Shown) and isinstance(shown, str):
            cell.comparison_traceback.append(f" {key}: {difference(stored, shown)}")
            stored, shown = str(stored), str(shown)
        explain(key, stored, shown)

    cell.sanitize, cell.format_output_compare = nearly, say
