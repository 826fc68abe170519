"""The pocket edition: a simulated proteome, grown from code, and a small language model.

Nothing of it is downloaded. The files are grown into the cache when the first of them is
asked for, which takes a few seconds; the folder's name holds a hash of what they are grown from.
"""

import hashlib
import tempfile
import warnings
from functools import cache
from pathlib import Path

from dlfb.utils.store import replacing

FILES = {
    "proteins/datasets": (
        "go-basic.obo", "train_sequences.fasta", "train_taxonomy.tsv.zip", "train_terms.tsv.zip",
    ),
    "proteins/truth": ("families.tsv", "hidden_terms.tsv", "proteins.tsv", "sites.tsv"),
    "proteins/structures": ("3I40.pdb", "1BKV.pdb", "1YAR.pdb"),
}  # fmt: skip


def model_dir() -> Path:
    """Return the folder of the pocket edition's language model."""
    return Path(__file__).parent / "model"


def provide(subpath: str) -> Path | None:
    """Return the pocket edition's file for an assets path, growing it on first ask.

    Parameters
    ----------
    subpath : str
        Such as ``"proteins/datasets/train_terms.tsv.zip"``, ``"proteins/truth/sites.tsv"``
        or ``"proteins/structures/3I40.pdb"``.

    Returns
    -------
    pathlib.Path or None
        None if the edition has no such file. Files are written aside and renamed, and
        their bytes depend on the code alone, so that processes that ask at once do no harm.
    """
    folder, _, name = subpath.rpartition("/")
    if name not in FILES.get(folder, ()):
        return None
    path = _home() / subpath
    if not path.is_file():
        if folder == "proteins/structures":
            from dlfb.pocket.structures import pdb_text

            files = {subpath: pdb_text(name.removesuffix(".pdb")).encode()}
        else:
            from dlfb.pocket.proteome import proteome_files

            files = proteome_files()
        for relative, content in files.items():
            to = _home() / relative
            to.parent.mkdir(parents=True, exist_ok=True)
            with replacing(to) as file:
                file.write(content)
    return path


@cache
def version() -> str:
    """Return a hash of the code and tables that the files are grown from."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*")):
        if source.suffix in (".py", ".txt"):
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:10]


def _home() -> Path:
    from dlfb.utils.context import cache_dir

    return _writable(cache_dir() / f"pocket-{version()}")


@cache
def _writable(folder: Path) -> Path:
    """Return `folder` if it can be made and written to, else one for this process alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        if (folder / "proteins/datasets/go-basic.obo").is_file():
            return folder  # read-only, but grown before
        other = Path(tempfile.mkdtemp(prefix="dlfb-pocket-"))
        warnings.warn(
            f"The pocket edition's files can't be kept in {folder} ({error}); they go to {other} "
            "for now. Set DLFB_CACHE to a folder you can write to.",
            stacklevel=4,
        )
        return other
