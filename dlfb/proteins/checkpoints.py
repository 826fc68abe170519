"""ESM2's checkpoints on the Hugging Face hub: which exactly, fetched once, and checked.

A name alone can mean other weights tomorrow, so each is pinned to a revision of
its repository and to the sha256 of its weights. Only configuration, vocabulary
and safetensors are fetched: nothing in them can carry code.
"""

import time
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
import requests
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from dlfb.utils import download
from dlfb.utils.context import cache_dir

WEIGHTS = "model.safetensors"
FILES = ("config.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", WEIGHTS)
ATTEMPTS = 3  # on top of those that the hub's own client makes


class Checkpoint(NamedTuple):
    """A repository's revision, and sha256 and size in bytes of the weights in it."""

    revision: str
    sha256: str | None = None
    size: int | None = None


#: The names that the chapter uses, and 35M. License of all: MIT.
PINNED_CHECKPOINTS: dict[str, Checkpoint] = {
    "facebook/esm2_t6_8M_UR50D": Checkpoint(
        "c731040fcd8d73dceaa04b0a8e6329b345b0f5df",
        "24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189",
        31_384_292,
    ),
    "facebook/esm2_t12_35M_UR50D": Checkpoint(
        "6fbf070e65b0b7291e7bbcd451118c216cff79d8",
        "e35647818e0e064351d4531ed480d225a002567b4b2b93ad3a9246d753150fc0",
        136_008_798,
    ),
    "facebook/esm2_t30_150M_UR50D": Checkpoint(
        "a695f6045e2e32885fa60af20c13cb35398ce30c",
        "c3f1da8aea53bddd32c246c86168c23b9fd72341fb9db9a94436f855f5053566",
        595_257_706,
    ),
    "facebook/esm2_t33_650M_UR50D": Checkpoint(
        "08e4846e537177426273712802403f7ba8261b6c",
        "a08adabb949fa67ad3c14b509d04fd60368b35007b0095e3358f81200c4f4db0",
        2_609_506_392,
    ),
}


def checkpoint_folder(name: str) -> Path:
    """Return the local folder of a pinned checkpoint, downloading and checking it on first use.

    Without network if the hub's cache has it. ``HF_ENDPOINT``, ``HF_HOME`` and
    ``HF_HUB_OFFLINE`` are honoured, as everywhere with the hub.

    Parameters
    ----------
    name : str
        A key of `PINNED_CHECKPOINTS`.

    Returns
    -------
    Path
        What ``from_pretrained`` takes.

    Raises
    ------
    FileNotFoundError
        If it is not there and can't be downloaded.
    ValueError
        If the name is not pinned, or the weights are not the pinned ones; they are then deleted.
    """
    if name not in PINNED_CHECKPOINTS:
        raise ValueError(
            f"{name!r} is not among the pinned checkpoints: {', '.join(PINNED_CHECKPOINTS)}."
        )
    pinned = PINNED_CHECKPOINTS[name]
    cached = huggingface_hub.try_to_load_from_cache(name, WEIGHTS, revision=pinned.revision)
    if not isinstance(cached, str) and not constants.HF_HUB_OFFLINE:
        size = pinned.size or 0
        told = f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
        download.require_space(Path(constants.HF_HUB_CACHE), size)
        _require_network(name)
        print(f"{name}: {told} to download from {constants.ENDPOINT}, once.")
    folder = [_fetched(name, file, pinned.revision) for file in FILES][-1].parent
    verify_checkpoint(name, folder)
    return folder


def verify_checkpoint(name: str, folder: Path) -> None:
    """Check a folder's weights against the pinned sha256; once a file, unless it changes.

    Parameters
    ----------
    name : str
        A key of `PINNED_CHECKPOINTS`.
    folder : Path
        Holds ``model.safetensors``.

    Raises
    ------
    ValueError
        If it is another file. One in the hub's cache is deleted, so that it can be fetched anew.
    """
    pinned, weights = PINNED_CHECKPOINTS[name], (Path(folder) / WEIGHTS).resolve()
    if pinned.sha256 is None:
        return
    status = weights.stat()
    # Reading gigabytes takes seconds, so a check that went well is remembered.
    note = cache_dir() / "checked-weights" / f"{pinned.sha256}.txt"
    seen = f"{weights} {status.st_size} {status.st_mtime_ns}"
    if note.is_file() and note.read_text() == seen:
        return
    found = download.digest_of(weights)
    if found != pinned.sha256:
        in_cache = weights.is_relative_to(Path(constants.HF_HUB_CACHE).resolve())
        if in_cache:
            (Path(folder) / WEIGHTS).unlink()
            weights.unlink(missing_ok=True)
        raise ValueError(
            f"The weights of {name} in {folder} are not the published ones: their sha256 is "
            f"{found[:12]}..., that of the published ones {pinned.sha256[:12]}... "
            + ("They were deleted; ask again to fetch them anew." if in_cache else "Replace them.")
        )
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(seen)
    except OSError:
        pass  # checked again next time


def _fetched(name: str, file: str, revision: str) -> Path:
    """Return a file of a repository from the hub's cache, or into it from the hub."""
    problem: Exception | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(download.BACKOFF * 2**attempt)
        try:
            return Path(huggingface_hub.hf_hub_download(name, file, revision=revision))
        except EntryNotFoundError as error:  # not cached either, where the hub can't be asked
            problem = error
            break
        # The client's HTTP library changes between its versions, and its errors with it.
        except Exception as error:
            problem = error
            answered = isinstance(error, HfHubHTTPError)
            if answered and error.response.status_code not in download.PASSING:
                break
    raise FileNotFoundError(_not_had(f"{file} of {name}", problem)) from problem


def _require_network(name: str) -> None:
    """Raise where the hub can't be reached, which its own client finds out in half a minute."""
    try:
        requests.head(
            constants.ENDPOINT,
            timeout=download.TIMEOUT[0],
            headers={"User-Agent": download.USER_AGENT},
        )
    except requests.RequestException as error:
        raise FileNotFoundError(_not_had(name, error)) from error


def _not_had(what: str, problem: Exception | None) -> str:
    place = "the hub, as HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else constants.ENDPOINT
    return (
        f"{what} is not in the hub's cache and can't be had from {place} "
        f"({type(problem).__name__}). Try again with a network, set HF_ENDPOINT to a mirror, or "
        "DLFB_CHECKPOINTS to a folder that holds the checkpoint, or to 'pocket' for dlfb's own."
    )
