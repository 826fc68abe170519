"""Protein language models of the ESM2 architecture (notebooks 03 to 05).

ESM2 (Lin et al. 2023, Science 379:1123) is a transformer encoder trained to fill in residues that
were masked. Its vocabulary has 33 tokens: 25 letters of amino acids and 8 others. The names of the
chapter are pinned to revisions on the Hugging Face hub. Only configuration, vocabulary and
safetensors are fetched, none of which can carry code.
"""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import huggingface_hub
import numpy as np
import requests
import safetensors
import safetensors.torch
import torch
from huggingface_hub import constants
from transformers import EsmForMaskedLM, EsmModel, EsmTokenizer
from transformers.utils import logging as hf_logging

from dlfb.utils.context import cache_dir, checkpoint, checkpoint_name, edition
from dlfb.utils.restore import kept

#: The revisions of the names that the chapter uses, and of 35M. License of all: MIT.
REVISIONS = {
    "facebook/esm2_t6_8M_UR50D": "c731040fcd8d73dceaa04b0a8e6329b345b0f5df",
    "facebook/esm2_t12_35M_UR50D": "6fbf070e65b0b7291e7bbcd451118c216cff79d8",
    "facebook/esm2_t30_150M_UR50D": "a695f6045e2e32885fa60af20c13cb35398ce30c",
    "facebook/esm2_t33_650M_UR50D": "08e4846e537177426273712802403f7ba8261b6c",
}
_INDEX = "model.safetensors.index.json"  # of a large model, which is cut into several files
_SMALL = ["config.json", "vocab.txt", "*token*.json", _INDEX]
_EMBEDDING = "embeddings.word_embeddings.weight"
# Recomputed or unused here, so a checkpoint may do without them.
_DISPENSABLE = ("contact_head", "inv_freq", "position_ids", "lm_head.decoder")


def load_language_model(
    name: str, masked: bool = False
) -> tuple[EsmTokenizer, EsmModel | EsmForMaskedLM]:
    """Load a protein language model, ready to be asked.

    Parameters
    ----------
    name : str
        A name on the Hugging Face hub, such as ``"facebook/esm2_t6_8M_UR50D"``;
        `dlfb.utils.context.checkpoint` says which model answers.
    masked : bool
        With the head that predicts masked tokens (logits out), or without it (hidden states out).

    Returns
    -------
    tokenizer : EsmTokenizer
    model : EsmModel or EsmForMaskedLM
        On the CPU, float32 whatever the file holds, in evaluation mode, without a pooling layer
        (no checkpoint has weights for one). The ``dlfb_checkpoint`` of both is the name of the
        model that answered.

    Raises
    ------
    FileNotFoundError
        If the checkpoint is not there and can't be downloaded.
    ValueError
        If it is no ESM2 checkpoint, or lacks weights.
    """
    folder = _folder(name)
    model_class, options = (
        (EsmForMaskedLM, {}) if masked else (EsmModel, {"add_pooling_layer": False})
    )
    with _quiet(), _explained(name, folder):
        tokenizer = EsmTokenizer.from_pretrained(folder)
        model, report = model_class.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, in a sentence
            **options,
        )
        # from_pretrained fills gaps with random numbers; such a model would answer nonsense.
        gaps = [key for key in report["missing_keys"] if not any(d in key for d in _DISPENSABLE)]
        gaps += [key for key, *_ in report["mismatched_keys"]]
        if gaps:
            head = "; it has no head for masked prediction" if "lm_head" in min(gaps) else ""
            raise ValueError(
                f"it lacks {len(gaps)} of the weights that its config.json asks for, such as "
                f"{min(gaps)!r}{head}"
            )
    tokenizer.dlfb_checkpoint = model.dlfb_checkpoint = checkpoint_name(name)
    return tokenizer, model.eval()


def load_tokenizer(name: str) -> EsmTokenizer:
    """Load what turns sequences into token ids, without the model; see `load_language_model`."""
    folder = _folder(name, weights=False)
    with _quiet(), _explained(name, folder):
        tokenizer = EsmTokenizer.from_pretrained(folder)
    tokenizer.dlfb_checkpoint = checkpoint_name(name)
    return tokenizer


def token_embeddings(name: str) -> tuple[list[str], np.ndarray]:
    """Return the vector that a model starts from for each token of its vocabulary.

    Only this one table is read from the file, on the disk or on the hub, so it is quick and small
    for any size of model. For `name` and what may be raised see `load_language_model`.

    Returns
    -------
    tokens : list of str
        The vocabulary in the order of its ids, 33 tokens for ESM2.
    embeddings : np.ndarray
        Shape (33, D), float32; row i belongs to ``tokens[i]``.
    """
    folder = _folder(name, weights=False)
    with _explained(name, folder):
        tokens = (folder / "vocab.txt").read_text(encoding="utf-8").split()
        files = _weight_files(folder).items()
        file = next((f for key, f in files if key.endswith(_EMBEDDING)), "model.safetensors")
    in_hub_cache = folder.is_relative_to(constants.HF_HUB_CACHE)  # which may have a part only
    if in_hub_cache and not (folder / file).is_file():
        place = cache_dir() / "tables" / f"{name}@{folder.name}"  # its revision
        key = {"function": "token_embeddings()"}
        return tokens, kept(place, key, partial(_fetch_table, name, folder.name, file))
    with _explained(name, folder), open(folder / file, "rb") as weights:
        return tokens, _read_table(weights)


def _fetch_table(name: str, revision: str, file: str) -> np.ndarray:
    """Read the table out of a file on the hub, without the rest."""
    with _from_hub(name):
        hub = huggingface_hub.HfFileSystem(endpoint=constants.ENDPOINT)
        with hub.open(f"{name}@{revision}/{file}", block_size=1 << 16) as weights:
            return _read_table(weights)


def _read_table(file) -> np.ndarray:
    """Read the input embeddings: a file is a length, a header in JSON, and its tensors in a row."""
    size, _ = file.seek(0, 2), file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(size, 100_000_000):  # the format's own limit
        raise ValueError("its weights have no header that can be read")
    header = json.loads(file.read(length))
    [table] = [tensor for key, tensor in header.items() if key.endswith(_EMBEDDING)]
    start, stop = table["data_offsets"]
    if 8 + length + stop > size:  # before that much memory is asked for
        raise ValueError("its weights end early")
    file.seek(8 + length + start)
    alone = json.dumps({"table": table | {"data_offsets": [0, stop - start]}}).encode()
    content = len(alone).to_bytes(8, "little") + alone + file.read(stop - start)
    return safetensors.torch.load(content)["table"].to(torch.float32).numpy()


def _weight_files(folder: Path) -> dict[str, str]:
    """Return the file of each tensor as the index of a checkpoint says, or the only file."""
    if (folder / _INDEX).is_file():
        return json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
    return {"": "model.safetensors"}


def _folder(name: str, weights: bool = True) -> Path:
    """Return the local folder of a checkpoint, downloading it from the hub if need be."""
    place = checkpoint(name)
    on_disk = place != name or Path(place).is_dir()
    folder = Path(place) if on_disk else _hub_folder(name, weights=False)
    for file in ("config.json", "vocab.txt"):
        if not (folder / file).is_file():
            raise _not_had(name, f"{folder} holds no {file}")
    with _explained(name, folder):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type")
        if kind != "esm":
            raise ValueError(f"its model type is {kind!r}, and only 'esm' (ESM2) is known here")
    return folder if on_disk or not weights else _hub_folder(name, weights=True)


def _hub_folder(name: str, weights: bool) -> Path:
    """Return the hub's copy on this disk; what is missing is fetched, and checked as it arrives."""
    wanted = {
        "repo_id": name,
        "revision": REVISIONS.get(name),
        "allow_patterns": [*_SMALL, *["*.safetensors"] * weights],
    }
    try:  # without any request
        folder = Path(huggingface_hub.snapshot_download(**wanted, local_files_only=True))
        files = _weight_files(folder).values() if weights else ["config.json", "vocab.txt"]
        if all((folder / file).is_file() for file in files):
            return folder
    except (OSError, ValueError):
        pass  # no copy yet
    with _from_hub(name), _quiet(bars=os.environ.get("DLFB_PROGRESS") != "0"):
        folder = Path(huggingface_hub.snapshot_download(**wanted))
    for link in folder.glob("*.safetensors"):
        blob = link.resolve()  # its name is the sha256 that was announced
        with blob.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if len(blob.name) == len(found) and blob.name != found:
            link.unlink()
            blob.unlink()
            raise ValueError(
                f"What arrived as {link.name} of {name} is not what was published: its sha256 is "
                f"{found[:12]}..., not {blob.name[:12]}... It was deleted; ask again to fetch it."
            )
    return folder


def _not_had(name: str, why: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"The language model {name!r} can't be had in the {edition()} edition: {why}. Connect to "
        "the network once, so that it can be downloaded; or set DLFB_CHECKPOINTS to a folder that "
        "has it, or to 'pocket' for the small model that comes with dlfb."
    )


@contextmanager
def _from_hub(name: str) -> Iterator[None]:
    """Turn whatever the hub's client raises into a sentence."""
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        # Without a network the client itself goes on trying for half a minute.
        requests.head(constants.ENDPOINT, timeout=10)
        yield
    except Exception as error:  # its own kinds, those of its HTTP library, and ValueErrors
        why = f"{constants.ENDPOINT} does not give it ({_first_line(error)})"
        raise _not_had(name, why) from error


@contextmanager
def _explained(name: str, folder: Path) -> Iterator[None]:
    """Turn whatever a damaged or foreign checkpoint raises into a sentence."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, AttributeError, TypeError, LookupError,
            safetensors.SafetensorError) as error:  # fmt: skip
        raise ValueError(
            f"The checkpoint {name!r} in {folder} can't be read: {_first_line(error)}. It must "
            "hold the config.json, vocab.txt and safetensors weights of an ESM2 model, unharmed."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextmanager
def _quiet(bars: bool = False) -> Iterator[None]:
    """Silence bars, warnings and load reports of the libraries, then set all as it was."""
    loggers = {name: logging.getLogger(name).level for name in ("transformers", "huggingface_hub")}
    had_bars = hf_logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        if not bars:
            hf_logging.disable_progress_bar()  # the hub's too
        try:
            yield
        finally:
            for name, level in loggers.items():
                logging.getLogger(name).setLevel(level)
            if had_bars:
                hf_logging.enable_progress_bar()
