"""Simulated protein families, and how a member of one comes about.

Nothing here is a real protein, with one exception that says so: the family
``insulin`` starts from the human insulin precursor.

*A founder* is put together from pieces. A domain alternates helices, strands
and loops; every site of it has an environment (helix buried, strand exposed,
loop, ...) whose residue weights it draws from, so that helices and strands come out
amphipathic. PROSITE-like signatures stand between those elements. Linkers of low
complexity join domains, and a signal peptide, membrane helices, a mitochondrial
transit peptide or a nuclear localisation signal is added where the protein is to go.

*A member* descends from its founder in two steps, founder -> lineage -> member, so
that a family holds close and remote relatives. In each step every site is hit
with a probability (the step's rate times the environment's own pace), and a site
that is hit takes a new residue ``b`` in place of ``a`` with a weight of
``2^(BLOSUM62[a, b] / 2)`` (the odds that the matrix stands for) times the weight of ``b`` in the
site's environment. A conserved site's environment is the one, two or
three residues allowed there. At last, loops and linkers lose or repeat a residue
here and there, and a domain that only some members carry is cut from the others.

The same seed gives the same letters on any machine: weights are integers, and so are
the draws (`dlfb.pocket.draws`). Founders are put together in `dlfb.pocket.founders`.

>>> from dlfb.pocket.families import families, grow
>>> sequences = grow(families()[0], 5, np.random.default_rng(1))
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from Bio.Align import substitution_matrices

from dlfb.pocket.draws import draw, generator
from dlfb.pocket.founders import (
    LETTERS,
    Family,
    build_family,
    environment_weights,
    insulin_family,
    read_kits,
    with_both_domains,
)

__all__ = ["LETTERS", "Family", "Member", "families", "generator", "grow", "grow_members"]

# How fast a site of each environment changes, in eighths of the step's rate.
PACE = {"H": 5, "B": 5, "h": 8, "b": 8, "l": 10, "g": 10, "w": 16, "n": 12, "s": 9, "c": 12, "t": 7,
        "m": 12, "N": 24, "=": 8}  # fmt: skip
ODDS = {-4: 25, -3: 35, -2: 50, -1: 71, 0: 100, 1: 141, 2: 200, 3: 283, 4: 400, 5: 566, 6: 800,
        7: 1131, 8: 1600, 9: 2263, 10: 3200, 11: 4525}  # 100 * 2^(score / 2)  # fmt: skip


class Member(NamedTuple):
    """One protein of a family."""

    sequence: str
    sites: np.ndarray  # 0-based position of each of the family's conserved sites, -1 where lost
    has_extra: bool  # carries the optional domain


@lru_cache(maxsize=4)
def families(seed: int = 20) -> tuple[Family, ...]:
    """Return the pocket edition's families, the same for the same seed.

    Each family's founder depends on `seed` and its own name only, so that a
    family added or reweighted leaves the others as they are.

    Parameters
    ----------
    seed : int
        The pocket edition uses the default.

    Returns
    -------
    tuple of Family
    """
    kits, pairs = read_kits()
    made = [insulin_family(kits["hormone"])]
    for kit in kits.values():
        made += [
            build_family(f"{kit['name']}-{i + 1}", i, kit, None, seed)
            for i in range(kit["families"])
        ]
    for i, pair in enumerate(pairs):
        first, second = pair.split("+")
        kit, other = kits[first], kits[second.lstrip("?")]
        family = build_family(f"{first}-{other['name']}", i, kit, other, seed)
        made.append(family if "?" in second else with_both_domains(family))
    return tuple(made)


def grow(family: Family, n: int, rng: np.random.Generator) -> list[str]:
    """Draw the sequences of `n` new members of a family.

    Parameters
    ----------
    family : Family
        One of ``families()``.
    n : int
        How many; 20,000 take seconds.
    rng : numpy.random.Generator
        Moved on by the call. Another seed gives other relatives.

    Returns
    -------
    list of str
    """
    return [member.sequence for member in grow_members(family, n, rng)]


def grow_members(family: Family, n: int, rng: np.random.Generator) -> list[Member]:
    """Draw `n` new members with the places of their conserved sites.

    See the module's text for how a member comes about; parameters as in `grow`.

    Returns
    -------
    list of Member
    """
    if n == 0:
        return []
    founder, kind, pace, cumulative = _tables(family)
    low, high = family.divergence
    lineages = max(1, n // 5)
    rates = low + draw(rng, high - low + 1, lineages)
    ancestors = _drift(np.repeat(founder[None], lineages, 0), rates, kind, pace, cumulative, rng)
    rates = 15 + draw(rng, 160, n)
    letters = _drift(ancestors[draw(rng, lineages, n)], rates, kind, pace, cumulative, rng)
    # Small indels: a loop or linker residue is lost, or repeated once or twice.
    copies = np.ones(letters.shape, np.int64)
    loose = np.flatnonzero([s in "lw" for s in family.sites])
    chance = draw(rng, 1000, (n, len(loose)))
    copies[:, loose] = np.where(chance < 15, 0, 1) + (chance >= 982) + (chance >= 994)
    has_extra = draw(rng, 100, n) < 50
    start, end = family.optional
    if end > start:
        copies[~has_extra, start:end] = 0
    alphabet = np.frombuffer(LETTERS.encode(), np.uint8)
    starts = np.cumsum(copies, axis=1) - copies
    conserved = np.array(family.conserved, np.int64)
    places = np.where(copies[:, conserved] > 0, starts[:, conserved], -1)
    return [
        Member(np.repeat(alphabet[row], k).tobytes().decode(), place, bool(extra) and end > start)
        for row, k, place, extra in zip(letters, copies, places, has_extra, strict=True)
    ]


def _drift(letters, rates, kind, pace, cumulative, rng) -> np.ndarray:
    """Substitute residues: letters (n, L) at rates (n,) per thousand, site kinds (L,)."""
    hit = draw(rng, 8000, letters.shape) < rates[:, None] * pace[None]
    rows, columns = np.nonzero(hit)
    table = cumulative[kind[columns], letters[rows, columns]]  # (hits, 20)
    picks = draw(rng, table[:, -1], len(rows))
    out = letters.copy()
    out[rows, columns] = (picks[:, None] >= table).sum(axis=1)
    return out


@lru_cache(maxsize=512)
def _tables(family: Family):
    """Return the founder as indices, each site's kind and pace, and (kinds, 20, 20) weights."""
    founder = np.array([LETTERS.index(x) for x in family.founder], np.int64)
    names = sorted(set(family.sites))
    kind = np.array([names.index(s) for s in family.sites], np.int64)
    pace = np.array([PACE[s[0]] for s in family.sites], np.int64)
    pools = np.array([environment_weights(name, family.lean) for name in names], np.int64)
    weights = _odds()[None] * pools[:, None, :]
    diagonal = np.arange(20)
    weights[:, diagonal, diagonal] = 0
    # Where nothing else is allowed, the residue stays.
    weights[:, diagonal, diagonal] = weights.sum(axis=2) == 0
    return founder, kind, pace, np.cumsum(weights, axis=2)


@lru_cache(maxsize=1)
def _odds() -> np.ndarray:
    """Return BLOSUM62 as integer odds, (20, 20)."""
    matrix = substitution_matrices.load("BLOSUM62")
    return np.array([[ODDS[int(matrix[a, b])] for b in LETTERS] for a in LETTERS], np.int64)
