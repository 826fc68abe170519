"""Protein sequences: the alphabet, one-hot encoding, and FASTA files (notebook 02).

The letters that a sequence may hold are those of the IUPAC one-letter code:
the twenty amino acids that the genetic code names, and five more that real
files contain (``U`` selenocysteine, ``O`` pyrrolysine, ``B`` D or N, ``Z`` E or
Q, ``X`` unknown).
"""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# The chapter's order: positive, negative, polar, special cases, hydrophobic.
AMINO_ACIDS: tuple[str, ...] = tuple("RHKDESTNQGPCAVILMFYW")
AMINO_ACID_TO_INDEX: dict[str, int] = {letter: i for i, letter in enumerate(AMINO_ACIDS)}

RARE_LETTERS: tuple[str, ...] = tuple("UOBZX")
#: What `encode` answers for a rare letter: one past the alphabet. Looking it up in an array of
#: twenty fails aloud, whereas -1 would quietly mean tryptophan; `jax.nn.one_hot` makes it zeros.
RARE_INDEX = len(AMINO_ACIDS)

AMINO_ACID_CLASSES: dict[str, str] = {
    "hydrophobic": "AFILMVWY",
    "polar uncharged": "NQST",
    "negative": "DE",
    "positive": "HKR",
    "special amino acids": "BCGOPUXZ",
}
SPECIAL_TOKENS = "special tokens"
#: Colours of Okabe and Ito (2008), told apart with any common kind of colour blindness.
CLASS_COLORS: dict[str, str] = {
    "hydrophobic": "#E69F00",
    "polar uncharged": "#56B4E9",
    "negative": "#D55E00",
    "positive": "#0072B2",
    "special amino acids": "#009E73",
    SPECIAL_TOKENS: "#999999",
}

#: Human insulin's precursor (UniProt P01308), 110 residues: signal peptide, B chain, C peptide,
#: A chain.
INSULIN = (
    "MALWMRLLPLLALLALWGPDPAAAFVNQHLCGSHLVEALYLVCGERGFFYTPKTRREAED"
    "LQVGQVELGGGPGAGSLQPLALEGSLQKRGIVEQCCTSICSLYQLENYCN"
)

_CLASS_OF = {letter: name for name, letters in AMINO_ACID_CLASSES.items() for letter in letters}
_ALLOWED = frozenset(AMINO_ACIDS + RARE_LETTERS)
_GZIP_MAGIC = b"\x1f\x8b"


def amino_acid_class(token: str) -> str:
    """Return the class of an amino acid or of any other token of a vocabulary.

    Parameters
    ----------
    token : str
        A one-letter code, or a token such as ``"<cls>"``.

    Returns
    -------
    str
        A key of `AMINO_ACID_CLASSES`, or ``"special tokens"`` for everything else.
    """
    return _CLASS_OF.get(token, SPECIAL_TOKENS)


def clean_sequence(sequence: str, name: str = "sequence") -> str:
    """Return a sequence in upper case, without white space and final stop.

    Parameters
    ----------
    sequence : str
        One-letter codes in either case. White space may stand anywhere; one
        ``*`` may stand at the end, as files translated from DNA have it.
    name : str
        What to call the sequence in an error.

    Returns
    -------
    str
        Letters of the twenty amino acids and of ``U O B Z X`` only, at least one.

    Raises
    ------
    ValueError
        If another letter occurs (the message gives the record, the position
        counted from 1 without white space, and the letter) or nothing is left.
    """
    if not isinstance(sequence, str):
        raise ValueError(
            f"{name}: a sequence is text of one-letter codes, but this is "
            f"{type(sequence).__name__} ({sequence!r:.40})."
        )
    letters = "".join(sequence.split()).removesuffix("*")
    # Letters are judged one by one: upper() alone would turn some foreign ones (a dotless i,
    # a sharp s) into amino acids.
    cleaned = letters.upper() if letters.isascii() else letters
    if not _ALLOWED.issuperset(cleaned):
        position, letter = next(
            (i, x)
            for i, x in enumerate(letters, start=1)
            if not x.isascii() or x.upper() not in _ALLOWED
        )
        hint = " Remove gaps of an alignment first." if letter in "-." else ""
        raise ValueError(
            f"{name}: the letter {letter!r} at position {position} is no amino acid. Allowed are "
            f"{''.join(sorted(AMINO_ACIDS))} and {' '.join(RARE_LETTERS)}.{hint}"
        )
    if not cleaned:
        raise ValueError(f"{name}: the sequence is empty. Leave the record out or fill it in.")
    return cleaned


def encode(sequence: str) -> list[int]:
    """Return the place of each residue in `AMINO_ACIDS`.

    Parameters
    ----------
    sequence : str
        A sequence of length L, as `clean_sequence` takes it.

    Returns
    -------
    list of int
        Length L, 0 to 19; 20 (`RARE_INDEX`) for ``U O B Z X``.

    Examples
    --------
    >>> encode("MALWM")
    [16, 12, 15, 19, 16]
    """
    return [AMINO_ACID_TO_INDEX.get(letter, RARE_INDEX) for letter in clean_sequence(sequence)]


def one_hot(sequence: str) -> np.ndarray:
    """Return a sequence as rows of zeros with a single one.

    Parameters
    ----------
    sequence : str
        A sequence of length L, as `clean_sequence` takes it.

    Returns
    -------
    np.ndarray
        Shape (L, 20), float32, columns in the order of `AMINO_ACIDS`. The rare
        letters ``U O B Z X`` get a row of zeros: none of the twenty is certain.
    """
    # A 21st row of zeros serves the rare letters.
    rows = np.eye(len(AMINO_ACIDS) + 1, len(AMINO_ACIDS), dtype=np.float32)
    return rows[encode(sequence)]


def read_fasta(path: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Read a FASTA file one record at a time.

    Parameters
    ----------
    path : str or os.PathLike
        A plain or gzip-compressed file (told by its content, not by its name).

    Yields
    ------
    (str, str)
        The record's id and its clean sequence. The id is the header's first
        word, and of ``sp|P01308|INS_HUMAN`` (as UniProt writes it) the accession.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not FASTA, holds no record, or a record's sequence is
        not one; the message names file, record and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_fasta: there is no file {str(path)!r}. Check the path.")
    with path.open("rb") as raw:
        compressed = raw.read(2) == _GZIP_MAGIC
    record, parts, start = None, [], 0
    opener = gzip.open if compressed else open
    with opener(path, "rt", encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if line.startswith(">"):
                if record is not None:
                    yield record, clean_sequence("".join(parts), _place(path, record, start))
                record, parts, start = _record_id(line, path, number), [], number
            elif record is not None:
                parts.append(line)
            elif line.strip():
                raise ValueError(
                    f"{path.name}, line {number}: a FASTA file begins with a line '>id', but this "
                    f"reads {line.strip()[:40]!r}. Is it another kind of file?"
                )
    if record is None:
        raise ValueError(f"{path.name}: the file holds no sequence (no line begins with '>').")
    yield record, clean_sequence("".join(parts), _place(path, record, start))


def _record_id(header: str, path: Path, number: int) -> str:
    words = header[1:].split()
    if not words:
        raise ValueError(f"{path.name}, line {number}: this record has no id after its '>'.")
    fields = words[0].split("|")
    if len(fields) == 3 and fields[0] in ("sp", "tr") and fields[1]:
        return fields[1]
    return words[0]


def _place(path: Path, record: str, line: int) -> str:
    return f"{path.name}, record {record!r} (line {line})"
