"""Editions: where the files and the language models come from.

A notebook asks two questions only, ``assets("proteins/...")`` for a file and
``checkpoint("facebook/esm2_...")`` for a model. What they answer depends on the
edition, so the same notebook runs offline (``pocket``) and on the book's own
data and models (``full``).

==================== =========================================================
``DLFB_EDITION``     ``pocket`` (default) or ``full``
``DLFB_ASSETS``      a folder holding ``proteins/...``, read instead of the edition's
``DLFB_CHECKPOINTS`` ``pocket``, ``hub`` or a folder of checkpoint folders
``DLFB_CACHE``       where a reader's own results are kept
==================== =========================================================
"""

import hashlib
import os
from pathlib import Path, PurePosixPath

EDITIONS = ("pocket", "full")

_chosen_edition: str | None = None


def use_edition(name: str) -> None:
    """Choose the edition for the rest of this process.

    Parameters
    ----------
    name : {"pocket", "full"}
        Takes precedence over the environment variable ``DLFB_EDITION``.

    Raises
    ------
    ValueError
        If there is no edition of that name.
    """
    global _chosen_edition
    _chosen_edition = _known_edition(name, "use_edition()")


def edition() -> str:
    """Return the name of the edition in use, ``"pocket"`` or ``"full"``."""
    if _chosen_edition is not None:
        return _chosen_edition
    return _known_edition(os.environ.get("DLFB_EDITION") or "pocket", "DLFB_EDITION")


def cache_dir() -> Path:
    """Return the folder that keeps a reader's results (not created here).

    ``DLFB_CACHE`` if set, else the operating system's per-user cache folder.
    """
    if os.environ.get("DLFB_CACHE"):
        return Path(os.environ["DLFB_CACHE"]).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("dlfb", appauthor=False)


def provisioned_dir() -> Path:
    """Return the folder where ``dlfb-provision`` puts the full edition's files."""
    return cache_dir() / "full"


def assets(subpath: str | os.PathLike) -> str:
    """Return the path of a file of the chapter, to read it or to write it.

    A file that the edition has is returned where it lies. Anything else is
    taken to be a result of the reader's own, and the path returned is in the
    per-user cache, in a folder of its own for each source of files, so that
    results from simulated and from real proteins never mix.

    Parameters
    ----------
    subpath : str
        Relative path with forward slashes, such as
        ``"proteins/datasets/train_terms.tsv.zip"`` or ``"proteins/models/mlp"``.

    Returns
    -------
    str
        An absolute path. Its folder exists if the path is one to write to.

    Raises
    ------
    ValueError
        If `subpath` is absolute or climbs out of the assets folder.
    FileNotFoundError
        If ``DLFB_ASSETS`` names a folder that does not exist.
    """
    relative = PurePosixPath(Path(subpath).as_posix())
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise ValueError(
            f"assets({str(subpath)!r}): the path must be relative and stay inside the "
            "assets folder, such as 'proteins/datasets/train_sequences.fasta'."
        )
    provided = _provided_file(relative)
    if provided is not None:
        return str(provided)
    own = results_dir() / relative
    _make_folder(own.parent)
    return str(own)


def results_dir() -> Path:
    """Return the cache folder for results made from the present source of files."""
    override = os.environ.get("DLFB_ASSETS")
    if override:
        # The folder's name for people, its full path's hash to keep two apart.
        root = Path(override).expanduser().resolve()
        tag = hashlib.sha256(str(root).encode()).hexdigest()[:8]
        return cache_dir() / "results" / f"{root.name}-{tag}"
    return cache_dir() / "results" / edition()


def checkpoint(name: str) -> str:
    """Return what ``from_pretrained`` should be given for a model's public name.

    Parameters
    ----------
    name : str
        A name on the Hugging Face hub, such as ``"facebook/esm2_t6_8M_UR50D"``.

    Returns
    -------
    str
        A local folder, or `name` itself where the model is to come from the
        hub; loading it then says first how much there is to download. The pocket
        edition answers every name with its own small model.

    Raises
    ------
    FileNotFoundError
        If ``DLFB_CHECKPOINTS`` is a folder that has no such checkpoint.
    """
    source = os.environ.get("DLFB_CHECKPOINTS") or ("pocket" if edition() == "pocket" else "hub")
    if source == "hub":
        return name
    if source == "pocket":
        from dlfb import pocket

        return str(pocket.model_dir())
    root = Path(source).expanduser()
    candidates = [root / name, root / name.rsplit("/", 1)[-1], root / name.replace("/", "_")]
    for folder in candidates:
        if (folder / "config.json").is_file():
            return str(folder.absolute())
    raise FileNotFoundError(
        f"No checkpoint {name!r} under DLFB_CHECKPOINTS={source!r}: none of "
        f"{', '.join(str(c) for c in candidates)} holds a config.json. Put the checkpoint's "
        "folder there, or set DLFB_CHECKPOINTS to 'pocket' or 'hub'."
    )


def _provided_file(relative: PurePosixPath) -> Path | None:
    """Return the edition's own file at `relative`, or None if it has none."""
    override = os.environ.get("DLFB_ASSETS")
    if override:
        root = Path(override).expanduser().absolute()
        if not root.is_dir():
            raise FileNotFoundError(
                f"DLFB_ASSETS={override!r} is not a folder. It must hold 'proteins/datasets/...'."
            )
    elif edition() == "pocket":
        # The one arrow from utils to an edition: the pocket edition grows its files from code.
        from dlfb import pocket

        return pocket.provide(str(relative))
    else:
        root = provisioned_dir()
    # A result of `restorable` is asked for without the ending that its file has.
    found = (root / relative).exists() or (root / f"{relative}.dlfb").exists()
    return root / relative if found else None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        import warnings

        warnings.warn(
            f"The folder {folder} could not be made ({error}), so results can't be kept there. "
            "Set DLFB_CACHE to a folder you can write to.",
            stacklevel=3,
        )


def _known_edition(name: str, where: str) -> str:
    if name not in EDITIONS:
        raise ValueError(f"{where}: there is no edition {name!r}; choose 'pocket' or 'full'.")
    return name
