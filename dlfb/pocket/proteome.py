"""The pocket proteome: simulated proteins of three species, annotated as in CAFA.

What is done, in this order:

1. Every family gets a number of proteins in each species, by its weight; yeast goes without
   the functions of animals. `dlfb.pocket.families` draws the members.
2. Some proteins are copied under another identifier, as P0DP23, P0DP24 and P0DP25 are one
   sequence in the real files: within human, and from human to mouse.
3. A protein's true functions are its family's; those of an optional domain that it
   carries; in some members of a moonlighting family a second one, without a trace in the
   sequence; in a quarter of all proteins one that depends on circumstance, again
   without a trace; in a few, any one term; and protein binding in most.
4. About a sixth of these annotations are lost, one by one or a whole aspect at a time, and
   others are known less precisely than they are true. What is then missing, ancestors
   included, is listed in ``truth/hidden_terms.tsv``.
5. As in real files of some age, a few rows name an alternative or an obsolete identifier.

Accessions start with ``PK``, as none of UniProt's does, and every FASTA header says
"simulated", so that none of these can be taken for a real protein.
"""

import io
import zipfile
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from dlfb.pocket.draws import draw, generator, pick
from dlfb.pocket.families import Family, Member, families, grow_members
from dlfb.pocket.ontology import obo_text, slice_terms, with_ancestors

SEED = 20
SPECIES = {9606: 3800, 10090: 2100, 559292: 1700}  # taxonomy identifier: proteins before copies
NOT_IN_YEAST = frozenset((
    "insulin", "hormone", "growthf", "cytok", "chemok", "cytrec", "gpcr", "olfr", "rtk",
    "tyrkinase", "igcam", "igv", "cadh", "claudin", "tetrasp", "ecm", "defens", "serpin", "kunitz",
    "lectin", "lipocal", "apolip", "lgic", "cachan", "nhr", "ifil", "sh2",
))  # fmt: skip
HUMAN_COPIES, MOUSE_COPIES = 60, 50
PROTEIN_BINDING = "GO:0005515"
ASPECTS = ("BPO", "CCO", "MFO")
# Functions that hang on a protein's company rather than on its family: any protein may have
# one, so that no sequence tells.
CIRCUMSTANTIAL = (
    "GO:0042802", "GO:0019899", "GO:0046982", "GO:0031072", "GO:0043130", "GO:0008201",
    "GO:0019904", "GO:0003682", "GO:0044183", "GO:0060090", "GO:0001530", "GO:0005102",
)  # fmt: skip
MAX_LEAVES = 9  # most annotations of one aspect that a protein may have


@dataclass(eq=False, slots=True)
class Protein:
    """A protein of the proteome, with its truth."""

    taxon: int
    family: Family
    member: Member
    copy_of: "Protein | None" = None
    id: str = ""
    moonlights: bool = False
    true: dict[str, frozenset[str]] = field(default_factory=dict)  # by aspect, with ancestors
    known: dict[str, frozenset[str]] = field(default_factory=dict)


def proteome_files(seed: int = SEED) -> dict[str, bytes]:
    """Grow the proteome and return its files.

    Parameters
    ----------
    seed : int
        The pocket edition uses the default.

    Returns
    -------
    dict
        Assets path -> content; the same bytes for the same seed on any machine.
    """
    proteins = grow_proteome(seed)
    rng = generator(seed, "old identifiers")
    term_rows, hidden_rows = [], []
    for p in proteins:
        for aspect in ASPECTS:
            for term in sorted(p.known[aspect]):
                term_rows.append((p.id, _aged(term, rng), aspect))
            hidden_rows += [(p.id, t, aspect) for t in sorted(p.true[aspect] - p.known[aspect])]
        term_rows += [(p.id, *row) for row in _obsolete(p, rng)]
    fasta = "".join(
        f">{p.id} simulated protein of dlfb's pocket proteome OX={p.taxon}\n{p.member.sequence}\n"
        for p in proteins
    )
    data, truth = "proteins/datasets/", "proteins/truth/"
    terms = _tsv(("EntryID", "term", "aspect"), term_rows)
    taxonomy = _tsv(("EntryID", "taxonomyID"), [(p.id, p.taxon) for p in proteins])
    return {
        data + "go-basic.obo": obo_text().encode(),
        data + "train_sequences.fasta": fasta.encode(),
        data + "train_terms.tsv.zip": _zip("train_terms.tsv", terms),
        data + "train_taxonomy.tsv.zip": _zip("train_taxonomy.tsv", taxonomy),
        truth + "hidden_terms.tsv": _tsv(("EntryID", "term", "aspect"), hidden_rows),
        truth + "proteins.tsv": _proteins_table(proteins),
        truth + "families.tsv": _families_table(seed),
        truth + "sites.tsv": _sites_table(proteins),
    }


def grow_proteome(seed: int = SEED) -> list[Protein]:
    """Return the proteins, sorted by identifier."""
    proteins: list[Protein] = []
    everyone = families(seed)
    shares = {taxon: _shares(everyone, n, taxon) for taxon, n in SPECIES.items()}
    for i, family in enumerate(everyone):
        taxa = [taxon for taxon in SPECIES for _ in range(shares[taxon][i])]
        members = grow_members(family, len(taxa), generator(seed, family.name, "members"))
        proteins += [Protein(t, family, m) for t, m in zip(taxa, members, strict=True)]
    rng = generator(seed, "proteome")
    human = [p for p in proteins if p.taxon == 9606]
    for k, i in enumerate(draw(rng, len(human), HUMAN_COPIES + MOUSE_COPIES)):
        original, taxon = human[i], 9606 if k < HUMAN_COPIES else 10090
        proteins.append(Protein(taxon, original.family, original.member, original))
        if k % 12 == 0:  # and now and then a third one
            proteins.append(Protein(taxon, original.family, original.member, original))
    # Identifiers in random order, so that neighbours in the files are not relatives.
    order = np.argsort(draw(rng, 2**32 - 1, len(proteins)), kind="stable")
    proteins = [proteins[i] for i in order]
    for number, p in enumerate(proteins, 1):
        p.id = f"PK{number:05d}"
    partners = _moonlighting(everyone, rng)
    lucks = draw(rng, 1000, (len(proteins), 10 + 3 * MAX_LEAVES)).tolist()
    for p, luck in zip(proteins, lucks, strict=True):
        _annotate(p, partners, luck, rng)
    return proteins


def _shares(everyone: tuple[Family, ...], n: int, taxon: int) -> list[int]:
    """Return how many of a species' `n` proteins each family gets, at least one or none."""
    yeast = taxon == 559292
    weights = [0 if yeast and f.name.split("-")[0] in NOT_IN_YEAST else f.weight for f in everyone]
    total = sum(weights)
    return [max(1, (w * n + total // 2) // total) if w else 0 for w in weights]


def _moonlighting(everyone: tuple[Family, ...], rng) -> dict[str, tuple[str, ...]]:
    """Return a second function for every seventh family, of another family."""
    picks = draw(rng, len(everyone), len(everyone))
    return {f.name: everyone[picks[i]].mfo for i, f in enumerate(everyone) if i % 7 == 3}


def _annotate(p: Protein, partners: dict[str, tuple[str, ...]], luck: list[int], rng) -> None:
    """Set what is true of a protein and what is known of it; `luck` is drawn out of 1,000."""
    leaves = {"BPO": list(p.family.bpo), "CCO": list(p.family.cco), "MFO": list(p.family.mfo)}
    if p.member.has_extra:
        leaves["MFO"] += p.family.extra_mfo
    if p.family.name in partners and luck.pop() < 350:
        p.moonlights = True
        leaves["MFO"] += partners[p.family.name]
    if luck.pop() < 720:
        leaves["MFO"].append(PROTEIN_BINDING)
    if luck.pop() < 260:
        leaves["MFO"].append(CIRCUMSTANTIAL[pick(rng, len(CIRCUMSTANTIAL))])
    for aspect in ("MFO", "BPO"):
        if luck.pop() < 70:
            some = _terms_of(aspect)
            leaves[aspect].append(some[pick(rng, len(some))])
    for aspect in ASPECTS:
        p.true[aspect] = _propagated(leaves[aspect])
        unstudied = luck.pop() < 50
        kept = []
        for leaf in leaves[aspect]:
            fate = luck.pop()
            if unstudied or fate < 130:
                continue  # hidden
            kept.append(leaf if fate < 920 else (slice_terms()[leaf].is_a or (leaf,))[0])
        p.known[aspect] = _propagated(kept)


@cache
def _terms_of(aspect: str) -> list[str]:
    return [t for t, term in slice_terms().items() if term.aspect == aspect and not term.obsolete]


def _propagated(leaves: list[str]) -> frozenset[str]:
    return frozenset().union(*(with_ancestors(t) for t in leaves))


def _aged(term: str, rng) -> str:
    """Return a term, now and then by its alternative identifier."""
    others = slice_terms()[term].alt_ids
    if others and term not in with_ancestors(PROTEIN_BINDING) and len(with_ancestors(term)) > 1:
        return others[0] if pick(rng, 100) < 20 else term
    return term


def _obsolete(p: Protein, rng) -> list[tuple[str, str]]:
    """Return rows that name an obsolete term, as older annotation does."""
    rows = []
    chance = (pick(rng, 100), pick(rng, 100))
    if p.known["CCO"] and p.family.localisation in ("cyto", "nuc", "mito") and chance[0] < 25:
        rows.append(("GO:0005623", "CCO"))
    if p.family.name.split("-")[0] in ("hsp70", "dnaj") and p.known["MFO"] and chance[1] < 40:
        rows.append(("GO:0000005", "MFO"))
    return rows


def _proteins_table(proteins: list[Protein]) -> bytes:
    header = ("EntryID", "taxonomyID", "family", "function_group", "localisation", "duplicate_of")
    rows = [
        (p.id, p.taxon, p.family.name, p.family.name.split("-")[0], p.family.localisation,
         p.copy_of.id if p.copy_of else "", int(p.member.has_extra), int(p.moonlights))
        for p in proteins
    ]  # fmt: skip
    return _tsv((*header, "extra_domain", "moonlights"), rows)


def _families_table(seed: int) -> bytes:
    header = ("family", "localisation", "signatures", "founder", "mfo", "bpo", "cco")
    rows = [
        (f.name, f.localisation, " ".join(f.signatures), f.founder,
         " ".join(f.mfo), " ".join(f.bpo), " ".join(f.cco))
        for f in families(seed)
    ]  # fmt: skip
    return _tsv(header, rows)


def _sites_table(proteins: list[Protein]) -> bytes:
    """Write a row for each conserved residue that a protein has; positions count from 0."""
    lines = ["EntryID\tfamily\tposition\tresidue\n"]
    for p in proteins:
        start, sequence = f"{p.id}\t{p.family.name}\t", p.member.sequence
        lines += [f"{start}{i}\t{sequence[i]}\n" for i in p.member.sites.tolist() if i >= 0]
    return "".join(lines).encode()


def _tsv(header: tuple[str, ...], rows: list[tuple]) -> bytes:
    return "".join("\t".join(map(str, row)) + "\n" for row in [header, *rows]).encode()


def _zip(name: str, content: bytes) -> bytes:
    """Return a zip archive of one stored file, without a trace of when or where it was made."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_STORED
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, content)
    return buffer.getvalue()
