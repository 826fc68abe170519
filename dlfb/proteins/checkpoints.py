"""ESM2's checkpoints on the Hugging Face hub: which exactly, fetched once, and checked.

A name alone can mean other weights tomorrow, so each is pinned to a revision of
its repository and to the sha256 of its weights. Only configuration, vocabulary
and safetensors are fetched: nothing in them can carry code. A single tensor is
read out of the file on the hub by range requests, without the rest.
"""

import json
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
HEADER_LIMIT = 10_000_000  # bytes; ESM2's list of tensors takes less than a hundredth of it


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


def checkpoint_folder(name: str, weights: bool = True) -> Path:
    """Return the local folder of a pinned checkpoint, downloading and checking it on first use.

    Without network if the hub's cache has it. ``HF_ENDPOINT``, ``HF_HOME`` and
    ``HF_HUB_OFFLINE`` are honoured, as everywhere with the hub. What is large is told
    before it is fetched.

    Parameters
    ----------
    name : str
        A key of `PINNED_CHECKPOINTS`.
    weights : bool
        With the weights, or only the small files: configuration and vocabulary.

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
    pinned = _pinned(name)
    files = FILES if weights else FILES[:-1]
    if not _cached(name, files[-1]) and not constants.HF_HUB_OFFLINE:
        if weights:
            download.require_space(Path(constants.HF_HUB_CACHE), pinned.size or 0)
        _require_network(name)
        if weights:
            _say(name, _size(pinned.size or 0), Path(constants.HF_HUB_CACHE))
    folder = [_fetched(name, file, pinned.revision) for file in files][-1].parent
    if weights:
        verify_checkpoint(name, folder)
    return folder


def fetch_tensor(name: str, suffix: str) -> bytes | None:
    """Return one tensor of a pinned checkpoint as a safetensors file; kept once fetched.

    Its bytes alone are asked for, which for a small tensor of a large model are a
    ten-thousandth of the file.

    Parameters
    ----------
    name : str
        A key of `PINNED_CHECKPOINTS`.
    suffix : str
        What the tensor's name ends in.

    Returns
    -------
    bytes or None
        None where :func:`checkpoint_folder` is to be asked: the weights are in the hub's cache
        already, or the hub gives no parts of files, or not of the pinned one.

    Raises
    ------
    FileNotFoundError
        If it was not fetched before and the hub can't be reached.
    """
    pinned = _pinned(name)
    kept = cache_dir() / "tensors" / f"{name}@{pinned.revision[:12]}" / f"{suffix}.safetensors"
    if kept.is_file():
        return kept.read_bytes()
    if _cached(name, WEIGHTS):
        return None
    if constants.HF_HUB_OFFLINE:
        raise FileNotFoundError(_not_had(f"{suffix} of {name}", None))
    _require_network(name)
    url = huggingface_hub.hf_hub_url(name, WEIGHTS, revision=pinned.revision)
    about = _told_of(url)
    if about is None or pinned.sha256 not in (None, about.etag):
        return None
    begin = 8 + int.from_bytes(_span(url, 0, 8) or b"", "little")
    header = _span(url, 8, begin) if 8 < begin <= HEADER_LIMIT else None
    if header is None:
        return None
    [(key, tensor)] = [(k, v) for k, v in json.loads(header).items() if k.endswith(suffix)]
    start, stop = tensor["data_offsets"]
    _say(name, f"{suffix} alone, {_size(stop - start)} of {_size(about.size or 0)},", kept.parent)
    content = _span(url, begin + start, begin + stop)
    if content is None:
        return None
    header = json.dumps({key: tensor | {"data_offsets": [0, stop - start]}}).encode()
    file = len(header).to_bytes(8, "little") + header + content
    download.keep(file, kept)
    return file


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


def _pinned(name: str) -> Checkpoint:
    if name not in PINNED_CHECKPOINTS:
        raise ValueError(
            f"{name!r} is not among the pinned checkpoints: {', '.join(PINNED_CHECKPOINTS)}."
        )
    return PINNED_CHECKPOINTS[name]


def _cached(name: str, file: str) -> bool:
    revision = PINNED_CHECKPOINTS[name].revision
    return isinstance(huggingface_hub.try_to_load_from_cache(name, file, revision=revision), str)


def _say(name: str, what: str, place: Path) -> None:
    place = str(place).replace(str(Path.home()), "~")
    print(f"{name}: {what} to download from {constants.ENDPOINT}, once; kept in {place}.")


def _size(size: int) -> str:
    unit, name = next((u for u in ((1e9, "GB"), (1e6, "MB")) if size >= u[0]), (1e3, "kB"))
    return f"{size / unit:.{1 if name == 'GB' else 0}f} {name}"


def _told_of(url: str):
    """Return what the hub says of a file (``etag`` is its sha256, ``size``), None if nothing."""
    try:
        return huggingface_hub.get_hf_file_metadata(url)
    except (
        Exception
    ):  # its kinds change with its HTTP library; what is wrong shows when it is asked
        return None


def _span(url: str, begin: int, end: int) -> bytes | None:
    """Return some bytes of a file, None where the host gives no parts of it."""
    headers = {"User-Agent": download.USER_AGENT, "Accept-Encoding": "identity"}
    headers["Range"] = f"bytes={begin}-{end - 1}"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(download.BACKOFF * 2**attempt)
        try:
            with requests.get(url, headers=headers, timeout=download.TIMEOUT, stream=True) as got:
                # A host that ignores the range would send all of the file.
                if got.status_code not in (206, *download.PASSING):
                    return None
                if got.status_code == 206 and len(got.content) == end - begin:
                    return got.content
        except requests.RequestException:
            pass  # cut short, say
    return None


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
