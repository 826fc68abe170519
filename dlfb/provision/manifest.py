"""What was provisioned: where every file is from and what it must be."""

import datetime
import json
import os
import shutil
from pathlib import Path

import dlfb
from dlfb.utils.download import digest_of, size_of

MANIFEST = "proteins/MANIFEST.json"
REQUIRED = (
    "proteins/datasets/train_terms.tsv.zip",
    "proteins/datasets/train_sequences.fasta",
    "proteins/datasets/train_taxonomy.tsv.zip",
    "proteins/datasets/go-basic.obo",
)


def read_manifest(root: Path) -> dict:
    """Return a destination's manifest, one without files where there is none."""
    path = root / MANIFEST
    if not path.is_file():
        return {"source": None, "files": []}
    try:
        manifest = json.loads(path.read_text("utf-8"))
        [(e["path"], e["size"], e["sha256"]) for e in manifest["files"]], manifest["source"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error!r}). Move it away and provision again."
        ) from error
    return manifest


def check(root: Path) -> list[str]:
    """Compare a destination's files with its manifest.

    Returns
    -------
    list of str
        A sentence for each thing that is wrong; empty if all is well.
    """
    manifest = read_manifest(root)
    if not manifest["files"]:
        return [f"{root} has no manifest of files: nothing was provisioned there."]
    problems = []
    for entry in manifest["files"]:
        path = root / entry["path"]
        if not path.is_file():
            problems.append(f"{path} is missing.")
        elif size_of(path) != entry["size"]:
            problems.append(f"{path} has {size_of(path):,} bytes instead of {entry['size']:,}.")
        elif digest_of(path) != entry["sha256"]:
            problems.append(f"{path} has changed: its sha256 is not the manifest's.")
    return problems


def install(root: Path, staging: Path, source: str, made: dict, old: dict) -> Path:
    """Move what a source made into place, then write the manifest.

    Parameters
    ----------
    root, staging : Path
        The destination, and the folder that mirrors it.
    source : str
        Its name.
    made : dict
        What its ``build`` returned: the ``names`` of the staged files and their
        ``origins``; the rest goes into the manifest as it is.
    old : dict
        The manifest so far.
    """
    made = dict(made)
    new, origins = made.pop("names"), made.pop("origins")
    entries = {
        name: {
            "path": name,
            "size": size_of(staging / name),
            "sha256": digest_of(staging / name),
            "from": origins.get(name, f"built from {source}'s files"),
        }
        for name in new
    }
    before = {e["path"]: e for e in old["files"] if (root / e["path"]).is_file()}
    left = {name: entry for name, entry in before.items() if name not in entries}
    if source == old["source"] == "book":
        entries.update(left)  # the book's models stay when only its data are asked for anew
    else:
        _set_aside(root, old["source"], list(left))
    _set_aside(root, "other", [n for n in new if n not in before and (root / n).is_file()])
    for name in new:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / name, root / name)
    manifest = {
        "source": source,
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "dlfb": dlfb.__version__,
        **made,
        "files": [entries[name] for name in sorted(entries)],
    }
    path = root / MANIFEST
    draft = path.with_name("MANIFEST.json.part")
    draft.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    os.replace(draft, path)
    shutil.rmtree(staging)
    for name in REQUIRED:
        if name not in entries:
            print(f"Note: this source has no {name}; pages that read it won't run on its files.")
    return path


def _set_aside(root: Path, source: str, names: list[str]) -> None:
    """Move files away that are not this source's: neither lost nor taken for its own."""
    place, number = root / "proteins" / f"earlier-{source}", 1
    while place.exists():
        number += 1
        place = place.with_name(f"earlier-{source}-{number}")
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(root / name, place / name)
    if names:
        print(f"{len(names)} earlier files, such as {names[0]}, are now in {place}.")
