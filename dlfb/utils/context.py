"""Editions: where files and language models come from, offline or with the book's data.

``DLFB_EDITION``      ``pocket`` (default) or ``full``
``DLFB_ASSETS``       a folder holding ``proteins/...``, read instead of the edition's files
``DLFB_CHECKPOINTS``  ``pocket``, ``hub`` or a folder of checkpoint folders
``DLFB_CACHE``        the folder for a reader's own results
"""

import hashlib
import os
import re
import warnings
from pathlib import Path, PurePosixPath

import platformdirs

POCKET_MODEL = "dlfb/pocket_t6_3M"
_SHIPPED = Path(__file__).resolve().parents[1] / "pocket"
_ESM2 = re.compile(r"facebook/esm2_(t6_8M|t12_35M|t30_150M|t33_650M|t36_3B|t48_15B)_UR50D")
_DATASETS = PurePosixPath("proteins/datasets")
CAFA = ("train_sequences.fasta", "train_terms.tsv.zip", "train_taxonomy.tsv.zip")
# Data about the shipped proteins that no other source has: the package's files serve them all.
_PACKAGE_ONLY = ("clusters.tsv.zip", "electronic_terms.tsv.zip", "train_terms_direct.tsv.zip")


def use_edition(name: str) -> None:
    """Choose ``"pocket"`` or ``"full"`` for this process and those it starts."""
    os.environ["DLFB_EDITION"] = _known(name)


def edition() -> str:
    """Return the name of the edition in use, ``"pocket"`` or ``"full"``."""
    return _known(os.environ.get("DLFB_EDITION") or "pocket")


def _known(name: str) -> str:
    if name not in ("pocket", "full"):
        raise ValueError(f"There is no edition {name!r}; DLFB_EDITION is 'pocket' or 'full'.")
    return name


def cache_dir() -> Path:
    """Return the folder for a reader's results: ``DLFB_CACHE``, or else the system's."""
    return expanded(os.environ.get("DLFB_CACHE")).absolute()


def provisioned_dir() -> Path:
    """Return where ``dlfb-provision`` puts the full edition's files."""
    return cache_dir() / "full"


def expanded(path: str | os.PathLike | None) -> Path:
    """Return a path with ``~`` replaced (None: the system's cache)."""
    try:
        return Path(path or platformdirs.user_cache_dir("dlfb", False)).expanduser()
    except RuntimeError as error:
        fault = f"There is no home folder for {str(path or '~')!r}. Write paths without '~'"
        raise FileNotFoundError(f"{fault}. Set DLFB_CACHE to a folder for results.") from error


def assets(subpath: str | os.PathLike) -> str:
    """Return the absolute path of a file of the chapter, such as ``"proteins/models/mlp"``.

    What the edition lacks is a result of the reader's own: its path is in the cache, in a folder
    that is made. The files of ``proteins/datasets`` all come from one place: what
    ``dlfb-provision`` downloaded for the full edition, or else the package.
    """
    relative = PurePosixPath(Path(subpath).as_posix())
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        fault = "the path must be relative and stay inside the folder, such as 'proteins/models'"
        raise ValueError(f"assets({str(subpath)!r}): {fault}.")
    source, root = _source()
    shipped, is_data = _SHIPPED / relative, relative.parent == _DATASETS
    # A result of `restorable` is asked for without the suffix that its file has.
    if root and ((root / relative).exists() or (root / f"{relative}.dlfb").exists()):
        return str(root / relative)
    serves = root is None and (source == "pocket" or is_data) and shipped.is_file()
    if serves or (is_data and relative.name in _PACKAGE_ONLY):
        return str(shipped)
    own = cache_dir() / "results" / source / relative
    try:
        own.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fault = f"Results can't be kept in {own.parent} ({error.strerror})"
        warnings.warn(f"{fault}. Set DLFB_CACHE to a folder you can write to.", stacklevel=2)
    return str(own)


def _source() -> tuple[str, Path | None]:
    """Return a name for the folder of results, and the folder of files (None: the package's)."""
    if override := os.environ.get("DLFB_ASSETS"):
        root = expanded(override).resolve()
        if not root.is_dir():
            fault = f"DLFB_ASSETS={override!r} is not a folder"
            raise FileNotFoundError(f"{fault}. It must hold 'proteins/datasets/...'.")
        # The hash tells folders of one name apart.
        return f"{root.name}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}", root
    if edition() == "full" and all((provisioned_dir() / _DATASETS / f).is_file() for f in CAFA):
        return "provisioned", provisioned_dir()
    return edition(), None


def checkpoint(name: str) -> str:
    """Return a folder, or a name on the hub, to load a model from with ``from_pretrained``.

    `name` is one on the Hugging Face hub, `POCKET_MODEL`, or a folder that holds a checkpoint.
    """
    name, source = os.fspath(name), _checkpoint_source()
    if checkpoint_name(name) == POCKET_MODEL:
        if _ESM2.fullmatch(name):
            print(f"{name}: using {POCKET_MODEL} instead, the small model in dlfb.")
        return str(_SHIPPED / "model")
    folders = [Path(name)]
    if source not in ("pocket", "hub"):
        folders += [expanded(source) / name, expanded(source) / Path(name).name]
    for folder in folders:
        if (folder / "config.json").is_file():
            return str(folder.absolute())
    if source == "hub":
        return name
    if source == "pocket":
        fault = f"{name!r} is not an ESM2 model, nor a folder that holds a checkpoint"
        raise ValueError(f"{fault}. The pocket edition has {POCKET_MODEL} alone, also for ESM2.")
    fault = f"There is no checkpoint {name!r}: DLFB_CHECKPOINTS has no {folder} with a config.json"
    raise FileNotFoundError(f"{fault}. Put it there, or set DLFB_CHECKPOINTS to 'pocket' or 'hub'.")


def checkpoint_name(name: str) -> str:
    """Return the true name of the model that answers for `name`, for stores and figures."""
    name = os.fspath(name)
    small = _ESM2.fullmatch(name) and _checkpoint_source() == "pocket"
    return POCKET_MODEL if small or name == str(_SHIPPED / "model") else name


def _checkpoint_source() -> str:
    return os.environ.get("DLFB_CHECKPOINTS") or {"pocket": "pocket", "full": "hub"}[edition()]
