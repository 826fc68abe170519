"""Editions: where the files and the language models come from.

A notebook asks two questions only, ``assets("proteins/...")`` for a file and
``checkpoint("facebook/esm2_...")`` for a model. What they answer depends on the edition, so
the same notebook runs offline (``pocket``) and with the book's models and data (``full``).

``DLFB_EDITION``      ``pocket`` (default) or ``full``
``DLFB_ASSETS``       a folder holding ``proteins/...``, read instead of the edition's
``DLFB_CHECKPOINTS``  ``pocket``, ``hub`` or a folder of checkpoint folders
``DLFB_CACHE``        where a reader's own results are kept
"""

import hashlib
import os
import re
import warnings
from pathlib import Path, PurePosixPath

import platformdirs

EDITIONS = ("pocket", "full")
POCKET_MODEL = "dlfb/pocket_t6_3M"
_SHIPPED = Path(__file__).resolve().parents[1] / "pocket"
_ESM2 = re.compile(r"facebook/esm2_(t6_8M|t12_35M|t30_150M|t33_650M|t36_3B|t48_15B)_UR50D")
_DATASETS = PurePosixPath("proteins/datasets")
_CAFA = ("train_sequences.fasta", "train_terms.tsv.zip", "train_taxonomy.tsv.zip")
# What is known of the shipped proteins besides, and of no others: the package has it for all.
_BESIDES = ("clusters.tsv.zip", "electronic_terms.tsv.zip", "train_terms_direct.tsv.zip")


def use_edition(name: str) -> None:
    """Choose ``"pocket"`` or ``"full"`` for this process and those it starts."""
    os.environ["DLFB_EDITION"] = _known(name, "use_edition()")


def edition() -> str:
    """Return the name of the edition in use, ``"pocket"`` or ``"full"``."""
    return _known(os.environ.get("DLFB_EDITION") or "pocket", "DLFB_EDITION")


def cache_dir() -> Path:
    """Return the folder that keeps a reader's results: ``DLFB_CACHE``, or else the system's."""
    return expanded(os.environ.get("DLFB_CACHE")).absolute()


def expanded(path: str | os.PathLike | None) -> Path:
    """Return a path without ``~`` (None: the system's cache); FileNotFoundError if it has none."""
    try:
        return Path(path or platformdirs.user_cache_dir("dlfb", False)).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(
            f"There is no home folder for {str(path or '~')!r}. Write paths without '~'. "
            "Set DLFB_CACHE to a folder you can write to, where dlfb keeps its results."
        ) from error


def provisioned_dir() -> Path:
    """Return where ``dlfb-provision`` puts the full edition's files."""
    return cache_dir() / "full"


def assets(subpath: str | os.PathLike) -> str:
    """Return the absolute path of a file of the chapter, such as ``"proteins/models/mlp"``.

    A file that the edition has is returned where it lies; any other is a result of the reader's
    own, to be written in the cache, where its folder is made. The files of ``proteins/datasets``
    come from one place: in the full edition what ``dlfb-provision`` fetched, else the package;
    clusters, evidence and other annotation of the shipped proteins are the package's in any case.

    Raises
    ------
    ValueError, FileNotFoundError
        If `subpath` leaves the folder; if ``DLFB_ASSETS`` names none, or there is none for a cache.
    """
    relative = PurePosixPath(Path(subpath).as_posix())
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        fault = "the path must be relative and stay inside the folder, such as 'proteins/models'"
        raise ValueError(f"assets({str(subpath)!r}): {fault}.")
    source, root = _source()
    # A result of `restorable` is asked for without the ending that its file has.
    found = (root / relative).exists() or (root / f"{relative}.dlfb").exists()
    if root == _SHIPPED:
        known = source == "pocket" or relative.parent == _DATASETS
        found = known and (root / relative).is_file()
    if not found and relative.parent == _DATASETS and relative.name in _BESIDES:
        root, found = _SHIPPED, True
    if found:
        return str(root / relative)
    own = cache_dir() / "results" / source / relative
    try:
        own.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        warnings.warn(
            f"{own.parent} can't be made ({error.strerror}), so results can't be kept there. "
            "Set DLFB_CACHE to a folder you can write to.",
            stacklevel=2,
        )
    return str(own)


def checkpoint(name: str) -> str:
    """Return what ``from_pretrained`` should be given: a folder, or a name on the hub.

    `name` is one on the Hugging Face hub, the small model's own, `POCKET_MODEL`, or a folder that
    holds a checkpoint. Where the small model answers for an ESM2, a printed line says so. What
    the pocket edition has no answer for is a ValueError, what is not there a FileNotFoundError.
    """
    name = os.fspath(name)
    if checkpoint_name(name) == POCKET_MODEL:
        if _ESM2.fullmatch(name):
            print(f"{name}: {POCKET_MODEL} answers, the small model that comes with dlfb.")
        return str(_SHIPPED / "model")
    source, folders = _checkpoint_source(), [Path(name)]
    if source not in ("pocket", "hub"):
        root = expanded(source)
        folders += [root / name, root / name.rsplit("/", 1)[-1]]
    for folder in folders:
        if (folder / "config.json").is_file():
            return str(folder.absolute())
    if source == "hub":
        return name
    if source == "pocket":
        raise ValueError(
            f"{name!r} is no ESM2 model, nor a folder that holds a checkpoint. The pocket edition "
            f"has one language model, {POCKET_MODEL}; it answers for ESM2's names on the hub too."
        )
    raise FileNotFoundError(
        f"There is no checkpoint {name!r} under DLFB_CHECKPOINTS={source!r}: no {folder} with "
        "a config.json. Put it there, or set DLFB_CHECKPOINTS to 'pocket' or 'hub'."
    )


def checkpoint_name(name: str) -> str:
    """Return the true name of the model that answers to `name`, as stores and figures carry it."""
    name = os.fspath(name)
    small = _ESM2.fullmatch(name) and _checkpoint_source() == "pocket"
    return POCKET_MODEL if small or name == str(_SHIPPED / "model") else name


def _checkpoint_source() -> str:
    return os.environ.get("DLFB_CHECKPOINTS") or {"pocket": "pocket", "full": "hub"}[edition()]


def _source() -> tuple[str, Path]:
    """Return where the files come from: a name for the folder of their results, and the folder."""
    if override := os.environ.get("DLFB_ASSETS"):
        root = expanded(override).resolve()
        if not root.is_dir():
            raise FileNotFoundError(
                f"DLFB_ASSETS={override!r} is not a folder. It must hold 'proteins/datasets/...'."
            )
        # The folder's name for people, its full path's hash to keep two apart.
        return f"{root.name}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}", root
    if edition() == "full" and all((provisioned_dir() / _DATASETS / f).is_file() for f in _CAFA):
        return "provisioned", provisioned_dir()
    return edition(), _SHIPPED


def _known(name: str, where: str) -> str:
    if name not in EDITIONS:
        raise ValueError(f"{where}: there is no edition {name!r}; choose 'pocket' or 'full'.")
    return name
