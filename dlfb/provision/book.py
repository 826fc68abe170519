"""The files of the printed book, from its own host.

``urls.txt`` there lists every file on a line "size path", where the path is
``chapter/datasets/...`` or ``chapter/models/...``.
"""

from pathlib import Path, PurePosixPath
from urllib.parse import quote

from dlfb.proteins.ontology import data_version, read_ontology
from dlfb.provision.files import download_many, fetch_inputs, ontology_wanted, place_ontology
from dlfb.utils.download import Wanted, digest_of, size_of

LICENCES = [
    "Files of the book: see https://deep-learning-for-biology.com. They derive from CAFA5, "
    "UniProt and GOA (CC BY 4.0).",
    "Gene Ontology: CC BY 4.0, https://geneontology.org/docs/go-citation-policy/",
]


def read_listing(path: Path, chapter: str, models: bool) -> dict[str, int]:
    """Return the chapter's files as {path: size in bytes}.

    Raises
    ------
    ValueError
        If a line is not "size path", a path leaves its folder, or the chapter has no file.
    """
    files = {}
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        size, _, name = line.strip().partition(" ")
        parts = PurePosixPath(name.strip()).parts
        sane = size.isdigit() and parts and not ({"..", "/"} & set(parts)) and "\\" not in name
        if not sane or ":" in name:
            raise ValueError(
                f"urls.txt, line {number}: expected 'size chapter/datasets/...', found "
                f"{line.strip()[:80]!r}. The book's host may have changed; try another source."
            )
        kinds = ("datasets", "models") if models else ("datasets",)
        if len(parts) > 2 and parts[0] == chapter and parts[1] in kinds:
            files["/".join(parts)] = int(size)
    if not files:
        raise ValueError(f"urls.txt lists no file of the chapter {chapter!r}. Try another source.")
    return files


def build(
    staging: Path,
    hosts: dict[str, str],
    *,
    present: dict[str, dict],
    root: Path,
    models: bool = True,
    go_release: str | None = None,
    chapter: str = "proteins",
) -> dict:
    """Download the chapter's files into `staging`; see :func:`dlfb.provision.provision`.

    `present` are the entries of the manifest of an earlier run from this host;
    files under `root` that still agree with it are not fetched again.
    """
    listing_file = staging / "raw" / "urls.txt"
    listing_file.unlink(missing_ok=True)  # always today's
    download_many([Wanted(f"{hosts['book']}/urls.txt", listing_file)], desc="Listing")
    listing = read_listing(listing_file, chapter, models)
    kept = [
        name
        for name, size in listing.items()
        if present.get(name, {}).get("size") == size == size_of(root / name)
        and present[name]["sha256"] == digest_of(root / name)
    ]
    wanted = [
        Wanted(f"{hosts['book']}/{quote(name)}", staging / name, size)
        for name, size in listing.items()
        if name not in kept and size_of(staging / name) != size
    ]
    if kept:
        print(f"{len(kept)} files are there already and agree with their checksums.")
    print(f"{len(wanted)} files to fetch, {sum(w.size for w in wanted) / 1e6:,.1f} MB.")
    download_many(wanted)
    origins = {name: f"{hosts['book']}/{name}" for name in listing}

    ontology = f"{chapter}/datasets/go-basic.obo"
    if ontology not in listing:
        print("The book's host lists no go-basic.obo: it comes from the Gene Ontology's.")
        [got] = fetch_inputs([ontology_wanted(staging / "raw" / "go.obo", hosts, go_release)])
        graph = place_ontology(got.path, staging / ontology)
        origins[ontology] = got.url
    else:
        graph = read_ontology((root if ontology in kept else staging) / ontology)
    return {
        "versions": {"go": data_version(graph)},
        "licences": LICENCES,
        "names": [name for name in origins if name not in kept],
        "origins": origins,
    }
