"""Protein sequences: the alphabet, one-hot encoding, and FASTA files (notebook 02)."""

import gzip
import io
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from itertools import chain
from lzma import LZMAError
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

# The chapter's order.
AMINO_ACIDS: tuple[str, ...] = tuple("RHKDESTNQGPCAVILMFYW")
AMINO_ACID_TO_INDEX: dict[str, int] = {letter: i for i, letter in enumerate(AMINO_ACIDS)}

#: Selenocysteine, pyrrolysine, D or N, E or Q, unknown (the IUPAC one-letter code).
RARE_LETTERS: tuple[str, ...] = tuple("UOBZX")
#: The index of a rare letter in `encode`: one past the alphabet, so that a look-up is an error
#: (-1 would silently be tryptophan), and `jax.nn.one_hot` gives zeros.
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
_COLORS = ("#E69F00", "#56B4E9", "#D55E00", "#0072B2", "#009E73", "#999999")
CLASS_COLORS = dict(zip([*AMINO_ACID_CLASSES, SPECIAL_TOKENS], _COLORS, strict=True))

#: Human insulin's precursor (UniProt P01308): signal peptide, B chain, C peptide, A chain.
INSULIN = (
    "MALWMRLLPLLALLALWGPDPAAAFVNQHLCGSHLVEALYLVCGERGFFYTPKTRREAED"
    "LQVGQVELGGGPGAGSLQPLALEGSLQKRGIVEQCCTSICSLYQLENYCN"
)

_CLASS_OF = {letter: name for name, letters in AMINO_ACID_CLASSES.items() for letter in letters}
_ALLOWED = frozenset(AMINO_ACIDS + RARE_LETTERS)
_HINTS = dict.fromkeys("-.", " Remove the gaps of the alignment first.")
_HINTS["J"] = " J means isoleucine or leucine: write L or I instead, or X for unknown."


def amino_acid_class(token: str) -> str:
    """Return a key of `AMINO_ACID_CLASSES`, or ``"special tokens"`` for any other token."""
    return _CLASS_OF.get(token, SPECIAL_TOKENS)


def clean_sequence(sequence: str, name: str = "sequence") -> str:
    """Return a sequence in upper case, without white space and without one final stop (``*``).

    A ValueError gives `name`, the wrong letter, and its position from 1 without white space.
    """
    if not isinstance(sequence, str):
        raise ValueError(f"{name}: a sequence is text of one-letter codes, not {sequence!r:.40}.")
    letters = "".join(sequence.split()).removesuffix("*")
    # upper() turns some foreign letters, such as a dotless i, into amino acids: ASCII only.
    cleaned = re.sub("[a-z]+", lambda found: found[0].upper(), letters)
    if not _ALLOWED.issuperset(cleaned):
        position = next(i for i, letter in enumerate(cleaned) if letter not in _ALLOWED)
        raise ValueError(
            f"{name}: the letter {letters[position]!r} at position {position + 1} is not an "
            f"amino acid. Allowed are {''.join(sorted(AMINO_ACIDS))} and {' '.join(RARE_LETTERS)}."
            f"{_HINTS.get(cleaned[position], '')}"
        )
    if not cleaned:
        raise ValueError(f"{name}: the sequence is empty. Leave the record out or fill it in.")
    return cleaned


def listed(sequences: Iterable[str], who: str) -> list[str]:
    """Return sequences as a list; ValueError for what Python would go through by letter or label.

    Labels may be spelled in residue letters, so that the mistake would not be noticed.
    """
    labelled = isinstance(sequences, Mapping | Set)
    labelled |= any(hasattr(sequences, name) for name in ("translate", "columns", "get_indexer"))
    labelled |= hasattr(sequences, "iloc") and "Sequence" in sequences.index  # a row
    if labelled or not hasattr(sequences, "__iter__"):
        way_out = "Pass a list of sequences, even of one, or one column, such as table['Sequence']"
        raise ValueError(f"{who}(): this is a {type(sequences).__name__}. {way_out}.")
    return list(sequences)


def encode(sequence: str) -> list[int]:
    """Return the place of each residue in `AMINO_ACIDS`: 0 to 19, or `RARE_INDEX`."""
    return [AMINO_ACID_TO_INDEX.get(letter, RARE_INDEX) for letter in clean_sequence(sequence)]


def one_hot(sequence: str) -> np.ndarray:
    """Return rows of zeros with a single one: (L, 20), float32, all zeros for a rare letter."""
    return np.eye(len(AMINO_ACIDS) + 1, len(AMINO_ACIDS), dtype=np.float32)[encode(sequence)]


def read_fasta(path: str | os.PathLike, on_error: str = "stop") -> Iterator[tuple[str, str]]:
    """Yield the ids and clean sequences of a FASTA file, plain, gzip-compressed or zipped.

    An id is the first word of the header, or UniProt's accession in ``sp|P01308|INS_HUMAN``. Ids
    may repeat. A record without an id or a valid sequence is a ValueError, or, with
    ``on_error="skip"``, a warning. A file without any valid record is a ValueError.
    """
    # Imported here: Biopython is not needed for encoding.
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    if on_error not in ("stop", "skip"):
        raise ValueError(f"read_fasta(): on_error={on_error!r}; choose 'stop' or 'skip'.")
    path, yielded = Path(path), False
    with open_text(path) as lines:
        first = next((line for line in lines if line.strip()), ">")
        if not first.startswith(">"):
            fault = f"a FASTA file begins with '>id', and not with {first.strip()[:40]!r}"
            raise ValueError(f"{path.name}: {fault}. Is it another kind of file?")
        for number, (title, sequence) in enumerate(SimpleFastaParser(chain([first], lines)), 1):
            where, words = f"{path.name}, record {number}", title.split()
            if not (words or sequence):
                continue  # an empty file, or a '>' at the end of one
            try:
                if not words:
                    raise ValueError(f"{where}: this record has no id after its '>'.")
                uniprot = re.fullmatch(r"(?:sp|tr)\|([^|]+)\|[^|]*", words[0])
                name = uniprot[1] if uniprot else words[0]
                clean = clean_sequence(sequence, f"{where} ({name})")
            except ValueError as error:
                if on_error == "stop":
                    raise
                warnings.warn(f"Record left out. {error}", stacklevel=2)
                continue
            yielded = True
            yield name, clean
    if not yielded:
        raise ValueError(f"{path.name}: the file has no valid sequence.")


@contextmanager
def open_text(path: str | os.PathLike) -> Iterator[io.TextIOBase]:
    """Open a text file: plain, gzip-compressed, or the only file of a zip."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}. Check the path.")
    with path.open("rb") as raw:
        try:
            with _unpacked(raw, path.name) as data:
                if b"\0" in data.peek(1024)[:1024]:
                    raise ValueError(f"{path.name}: this is not UTF-8 text. Save it as such.")
                yield io.TextIOWrapper(data, encoding="utf-8-sig", errors="replace")
        except (EOFError, OSError, RuntimeError, zlib.error, LZMAError, BadZipFile) as error:
            fault = f"the file is damaged or cut off ({error or 'it ends early'})"
            raise ValueError(f"{path}: {fault}. Download or copy it again.") from error


def _unpacked(raw: io.BufferedReader, name: str) -> io.BufferedReader:
    magic = raw.peek(4)
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    if not magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # the second is an empty zip
        return raw
    archive = zipfile.ZipFile(raw)
    # Folders, and what macOS and Windows add, do not count.
    extra = re.compile(r"/$|^__MACOSX/|(^|/)(\.|(Thumbs\.db|desktop\.ini)$)", re.IGNORECASE)
    inside = [file for file in archive.namelist() if not extra.search(file)]
    if len(inside) != 1:
        raise ValueError(f"{name}: a zip must have one file, and this has {len(inside)}.")
    return io.BufferedReader(archive.open(inside[0]))
