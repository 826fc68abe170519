"""The founders of the simulated families, put together from ``kits.txt``.

A kit says what families of one function share: where their proteins go, which fold, which
signatures, which GO terms. A family is a kit (or two, a domain each) and a founder drawn for
it. A founder is a list of sites, each a letter and an environment; an environment is a
key of ``SOFT`` or ``STRICT``, or ``=`` and the letters that are kept at a conserved site.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dlfb.pocket.draws import draw, generator, pick

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
KIT_COLUMNS = ("name", "place", "fold", "lean", "length", "families", "weight", "signatures",
               "mfo", "bpo", "cco")  # fmt: skip

# Integer residue weights of each environment. A letter left out gets 1 where the
# environment is soft (drift may pass through it), 0 where it is strict.
SOFT = {
    "H": "L48 A26 I18 V15 M10 F12 C3 Y5 W3 T3 G2",  # helix, buried
    "h": "E20 K14 A18 R15 Q12 D11 S9 N7 T7 L5 H5 G2 M2 Y2 V2",  # helix, exposed
    "B": "V30 I22 L18 F13 Y9 A8 W4 C4 M4 T5 G3",  # strand, buried
    "b": "T17 S13 K9 R11 E12 Q9 Y7 N7 V8 D7 H4 I3",  # strand, exposed
    "l": "G28 P18 D15 N15 S17 T11 K7 E9 R8 A8 Q6 H5 Y3 L3 V3",  # loop
    "g": "G28 P18 D15 N15 S17 T11 K7 E9 R8 A8 Q6 H5 Y3 L3 V3",  # loop whose length is kept
    "w": "S24 G18 P20 E12 K7 Q10 T12 A14 D8 N6 R6 L4",  # linker of low complexity
}
STRICT = {
    "n": "K5 R5 S3 T2 A3 N2 P2 G2 W1 Q1 L2",  # signal peptide, before its hydrophobic stretch
    "s": "L14 A7 V5 I3 F3 C1 W1 G1 T1 S1",  # signal peptide, hydrophobic stretch
    "c": "S5 P4 G4 Q3 T3 E2 L2 N2 A3",  # signal peptide, up to the cleavage site
    "t": "L26 I16 V16 F13 A13 G8 M5 W3 Y3 S5 T5 C3",  # membrane helix
    "m": "R10 L11 A11 S10 V4 G5 P4 T4 Q4 F3 W1 I1 K1",  # mitochondrial transit peptide
    "N": "A4 T4 S4 N2 G1 K1 P1 D1 Q1",  # insulin's third B-chain residue: open to drift
}
SIMILAR = {"I": "IV", "V": "VI", "L": "LM", "D": "DE", "E": "ED", "K": "KR", "R": "RK",
           "F": "FY", "Y": "YF", "S": "ST", "T": "TS", "N": "ND", "A": "AS", "Q": "QE"}  # fmt: skip

INSULIN_PRECURSOR = (
    "MALWMRLLPLLALLALWGPDPAAAFVNQHLCGSHLVEALYLVCGERGFFYTPKTRREAEDLQVGQVELGGGPGAGSLQPLALEGSLQKRG"
    "IVEQCCTSICSLYQLENYCN"
)
# 0-based; B1 is 24, A1 is 89. The cysteines, the residues that pack or bind the receptor,
# and the dibasic cleavage sites are kept; B3 (26) and the C peptide are left to drift.
INSULIN_KEPT = {
    **dict.fromkeys((29, 34, 38, 40, 104), "L"),
    **dict.fromkeys((30, 42, 94, 95, 99, 108), "C"),
    **dict.fromkeys((31, 46, 89), "G"),
    **{25: "VA", 27: "QK", 28: "HN", 32: "SP", 33: "HDE", 35: "V", 36: "ED", 37: "A", 39: "Y"},
    **{41: "V", 43: "G", 44: "ED", 45: "R", 47: "F", 48: "FY", 49: "Y", 51: "P", 54: "RK"},
    **{55: "R", 87: "K", 88: "R", 90: "I", 91: "V", 92: "ED", 93: "Q", 102: "Y", 106: "N"},
    **{107: "Y", 109: "N"},
}


@dataclass(frozen=True)
class Family:
    """A simulated family: its founder, what is kept, and what its members do."""

    name: str
    founder: str
    sites: tuple[str, ...]  # environments
    conserved: tuple[int, ...]  # 0-based positions in the founder
    signatures: tuple[str, ...]  # PROSITE-like
    localisation: str  # cyto, nuc, mito, sec, tm1 ... tm7
    mfo: tuple[str, ...]  # GO identifiers, the most specific ones
    bpo: tuple[str, ...]
    cco: tuple[str, ...]
    extra_mfo: tuple[str, ...]  # of the members that carry the optional domain
    optional: tuple[int, int]  # its half-open range in the founder; (0, 0) if there is none
    lean: str
    weight: int  # relative size
    divergence: tuple[int, int]  # range of a lineage's substitution rate, per thousand sites


def read_kits() -> tuple[dict[str, dict], list[str]]:
    """Read ``kits.txt``: the kits by name, cells parsed, and the pairs of two domains."""
    text = Path(__file__).with_name("kits.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    cut = lines.index("[two domains]")
    kits = {}
    for line in lines[:cut]:
        kit = dict(zip(KIT_COLUMNS, (cell.strip() for cell in line.split(" | ")), strict=True))
        for key in ("length", "families", "weight"):
            kit[key] = int(kit[key])
        signatures = []
        for part in kit["signatures"].split(" ... "):
            times, _, pattern = part.rpartition("* ")
            signatures += [pattern.strip()] * int(times or 1)
        kit["signatures"] = tuple(signatures)
        for key in ("mfo", "bpo", "cco"):
            kit[key] = [tuple(f"GO:{int(t):07d}" for t in s.split()) for s in kit[key].split("/")]
        kits[kit["name"]] = kit
    return kits, " ".join(lines[cut + 1 :]).split()


def build_family(name: str, i: int, kit: dict, other: dict | None, seed: int) -> Family:
    """Put together the `i`-th family of a kit, or of two kits."""
    rng = generator(seed, name)
    terms = {key: kit[key][i % len(kit[key])] for key in ("mfo", "bpo", "cco")}
    length = kit["length"] * (75 + pick(rng, 35)) // 100
    # Some of the smaller families are giants.
    if other is None and i and pick(rng, 9) == 0:
        length = length * (2 + pick(rng, 2))
    chain = _chain(kit, length, rng)
    optional = (0, 0)
    if other is not None:
        second = _domain(other, other["length"] * 2 // 3, rng)
        linker = _run("w" * (12 + pick(rng, 20)), other["lean"], rng)
        optional = (len(chain), len(chain) + len(linker) + len(second))
        chain = chain + linker + second
    low = (60, 150, 300)[pick(rng, 3)]
    return Family(
        name=name,
        founder="".join(x for x, _ in chain),
        sites=tuple(s for _, s in chain),
        conserved=tuple(p for p, (_, s) in enumerate(chain) if s[0] == "=" and p > 0),
        signatures=kit["signatures"] + (other["signatures"] if other else ()),
        localisation=kit["place"],
        **terms,
        extra_mfo=other["mfo"][0] if other else (),
        optional=optional,
        lean=kit["lean"],
        weight=max(4, kit["weight"] ** 2 // (12 + 9 * i)) if other is None else 12,
        divergence=(low, low + 60 + pick(rng, 200)),
    )


def with_both_domains(family: Family) -> Family:
    """Make the second domain one that every member carries."""
    terms = tuple(dict.fromkeys(family.mfo + family.extra_mfo))
    return Family(**{**vars(family), "mfo": terms, "extra_mfo": (), "optional": (0, 0)})


def insulin_family(kit: dict) -> Family:
    """Return the family grown from human insulin's precursor."""
    sites = ["n"] * 3 + ["s"] * 14 + ["c"] * 7 + ["h"] * 30 + ["l"] * 2 + ["w"] * 31
    sites += ["l"] * 2 + ["h"] * 21
    sites[0], sites[21], sites[23], sites[26] = "=M", "=AVS", "=AGS", "N"
    for position, letters in INSULIN_KEPT.items():
        sites[position] = "=" + letters
    return Family("insulin", INSULIN_PRECURSOR, tuple(sites), tuple(sorted(INSULIN_KEPT)),
                  ("C-C-[TASHG]-x(2)-[CI]-[SAT]-x(3)-[LMFAS]-x(3)-C",), "sec", kit["mfo"][0],
                  ("GO:0006006", "GO:0007165"), ("GO:0005576",), (), (0, 0), "-", 30,
                  (60, 300))  # fmt: skip


def environment_weights(environment: str, lean: str = "-") -> np.ndarray:
    """Return the integer weights of the 20 residues in an environment, (20,)."""
    if environment[0] == "=":
        return np.array([x in environment[1:] for x in LETTERS], np.int64)
    soft = environment in SOFT
    weights = {x: 2 * int(soft) for x in LETTERS}
    for entry in (SOFT if soft else STRICT)[environment].split():
        weights[entry[0]] = 2 * int(entry[1:])
    if environment in "hblgw":
        up, _, down = lean.lstrip("+").partition("-")
        for x in up:
            weights[x] *= 2
        for x in down:
            weights[x] //= 2
    return np.array([weights[x] for x in LETTERS], np.int64)


Chain = list[tuple[str, str]]  # (letter, environment) of each site


@cache
def _cumulative(environment: str, lean: str) -> np.ndarray:
    return np.cumsum(environment_weights(environment, lean))


def _run(environments: str, lean: str, rng) -> Chain:
    """Draw a residue for each environment of a stretch."""
    table = np.stack([_cumulative(e, lean) for e in environments])
    picks = (draw(rng, table[:, -1], len(environments))[:, None] >= table).sum(axis=1)
    return [(LETTERS[k], e) for k, e in zip(picks, environments, strict=True)]


def _chain(kit: dict, length: int, rng) -> Chain:
    """Return a founder: its targeting sequence, then its domain or its membrane helices."""
    place, lean = kit["place"], kit["lean"]
    start: Chain = [("M", "=M")]
    if place == "sec" or place == "tm1":
        start += _run("n" * (2 + pick(rng, 4)) + "s" * (10 + pick(rng, 3)), lean, rng)
        start += _run("ccc", lean, rng) + [("A", "=AVS")] + _run("c", lean, rng) + [("A", "=AGS")]
    elif place == "mito":
        start += _run("m" * (20 + pick(rng, 10)), lean, rng)
    if not place.startswith("tm"):
        body = _domain(kit, max(40, length - len(start)), rng)
        if place == "nuc":
            body += _run("wwww", lean, rng) + _signature("P-[KR]-[KR]-[KR]-[KR]-[KV]", lean, rng)
            body += _run("wwwwww", lean, rng)
        return start + body
    helices = int(place[2:])
    helix = [_run("t" * (19 + pick(rng, 5)), lean, rng) for _ in range(helices)]
    if helices == 1:  # the domain outside, a tail inside
        tail = _run("l" * 4 + "w" * 26, lean, rng)
        body = _domain(kit, max(60, length - len(start) - 50), rng)
        return start + body + helix[0] + [("K", "=KR"), ("R", "=KR")] + tail
    loop = max(9, (length - 21 * helices) // (helices + 1))
    parts = [_domain({**kit, "signatures": ()}, loop, rng) for _ in range(helices + 1)]
    for k, pattern in enumerate(kit["signatures"]):  # in the loops that follow helices 3, 5, ...
        parts[min(helices, 3 + 2 * k)][2:2] = _signature(pattern, lean, rng)
    chain = start + parts[0]
    for h, part in zip(helix, parts[1:], strict=True):
        chain += h + [("K", "=KR")] + part
    return chain


def _domain(kit: dict, length: int, rng) -> Chain:
    """Return helices, strands and loops with the kit's signatures spaced among them."""
    lean, signatures = kit["lean"], list(kit["signatures"])
    chain: Chain = []
    spacing = length // (len(signatures) + 1)
    turn = pick(rng, 2)
    phase = "HhhHHhh"
    while len(chain) < length:
        done = len(kit["signatures"]) - len(signatures)
        if signatures and len(chain) >= spacing * (done + 1):
            chain += _signature(signatures.pop(0), lean, rng)
        elif kit["fold"] == "a" or (kit["fold"] == "x" and turn % 2):
            n = 9 + pick(rng, 9)
            chain += _keep(_run((phase * 4)[:n], lean, rng), rng)
        else:
            chain += _keep(_run(("Bb" * 5)[: 5 + pick(rng, 4)], lean, rng), rng)
        chain += _keep(_run("l" * (2 + pick(rng, 5)), lean, rng), rng)
        if pick(rng, 12) == 0:
            chain += _run("w" * (8 + pick(rng, 18)), lean, rng)
        turn += 1
    for pattern in signatures:
        chain += _signature(pattern, lean, rng)
    return chain


def _keep(run: Chain, rng) -> Chain:
    """Make about one site in six a conserved one, half of those with a similar residue allowed."""
    chance = draw(rng, 100, len(run))
    return [
        (x, "=" + x) if c < 9 else (x, "=" + SIMILAR.get(x, x)) if c < 17 else (x, s)
        for (x, s), c in zip(run, chance, strict=True)
    ]


def _signature(pattern: str, lean: str, rng) -> Chain:
    """Return one instance of a PROSITE pattern such as ``[AG]-x(4)-G-K-[ST]``."""
    chain: Chain = []
    for element in pattern.split("-"):
        letters, times = re.fullmatch(r"\[?([A-Zx]+)\]?(?:\((\d+)\))?", element).groups()
        for _ in range(int(times or 1)):
            if letters == "x":
                chain += _run("hbg"[pick(rng, 3)], lean, rng)
            else:
                chain.append((letters[pick(rng, len(letters))], "=" + letters))
    return chain
