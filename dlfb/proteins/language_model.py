"""Protein language models of the ESM2 architecture (notebooks 03 to 05).

ESM2 (Lin et al. 2023, Science 379:1123) is a transformer encoder trained to fill in residues
that were masked. Its vocabulary has 33 tokens: 25 letters of amino acids and 8 others.

Only safetensors files are read, which can't carry code, and nothing that a
checkpoint brings along is ever run.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from transformers import EsmConfig, EsmForMaskedLM, EsmModel, EsmTokenizer
from transformers.utils import logging as hf_logging

from dlfb.proteins.checkpoints import PINNED_CHECKPOINTS, checkpoint_folder, fetch_tensor
from dlfb.utils.context import checkpoint, edition

_FILES = ["config.json", "vocab.txt", "*token*.json", "*.safetensors", "*.safetensors.index.json"]
_EMBEDDING = "embeddings.word_embeddings.weight"
# Recomputed or unused here, so a checkpoint may do without them.
_DISPENSABLE = ("contact_head", "inv_freq", "position_ids", "lm_head.decoder")


def load_language_model(
    checkpoint_name: str, masked: bool = False
) -> tuple[EsmTokenizer, EsmModel | EsmForMaskedLM]:
    """Load a protein language model, ready to be asked.

    Parameters
    ----------
    checkpoint_name : str
        A name on the Hugging Face hub, such as ``"facebook/esm2_t6_8M_UR50D"``;
        `dlfb.utils.context.checkpoint` says where it comes from.
    masked : bool
        With the head that predicts masked tokens (logits out), or without it
        (hidden states out).

    Returns
    -------
    tokenizer : EsmTokenizer
    model : EsmModel or EsmForMaskedLM
        On the CPU, float32 whatever the file holds, in evaluation mode, without a pooling layer
        (no checkpoint has weights for one). Both remember `checkpoint_name` as
        ``dlfb_checkpoint``.

    Raises
    ------
    FileNotFoundError
        If the checkpoint is not there and can't be downloaded.
    ValueError
        If what is there is no ESM2 checkpoint, or lacks weights.
    """
    folder = _checkpoint_folder(checkpoint_name)
    model_class = EsmForMaskedLM if masked else EsmModel
    options = {} if masked else {"add_pooling_layer": False}
    with _quiet(), _explained(checkpoint_name, folder):
        tokenizer = EsmTokenizer.from_pretrained(folder)
        model, report = model_class.from_pretrained(
            folder,
            config=EsmConfig.from_pretrained(folder),
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, in a sentence
            **options,
        )
    # from_pretrained fills gaps with random numbers; a model with such gaps would answer nonsense.
    gaps = [key for key in report["missing_keys"] if not any(d in key for d in _DISPENSABLE)]
    gaps += [key for key, *_ in report["mismatched_keys"]]
    if gaps:
        hint = " It has no head for masked prediction." if "lm_head" in min(gaps) else ""
        raise ValueError(
            f"The checkpoint {checkpoint_name!r} in {folder} lacks {len(gaps)} of the weights that "
            f"its config.json asks for, such as {min(gaps)!r}.{hint}"
        )
    tokenizer.dlfb_checkpoint = model.dlfb_checkpoint = checkpoint_name
    return tokenizer, model.eval()


def load_tokenizer(checkpoint_name: str) -> EsmTokenizer:
    """Load what turns sequences into token ids, without the model.

    Parameters
    ----------
    checkpoint_name : str
        As for `load_language_model`.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `load_language_model`.
    """
    folder = _checkpoint_folder(checkpoint_name, weights=False)
    with _quiet(), _explained(checkpoint_name, folder):
        tokenizer = EsmTokenizer.from_pretrained(folder)
    tokenizer.dlfb_checkpoint = checkpoint_name
    return tokenizer


def token_embeddings(checkpoint_name: str) -> tuple[list[str], np.ndarray]:
    """Return the vector that a model starts from for each token of its vocabulary.

    Only this one table is read from the file, on the disk or on the hub, so it is
    quick and small for any size of model.

    Parameters
    ----------
    checkpoint_name : str
        As for `load_language_model`.

    Returns
    -------
    tokens : list of str
        The vocabulary in the order of its ids, 33 tokens for ESM2.
    embeddings : np.ndarray
        Shape (33, D), float32; row i belongs to ``tokens[i]``.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `load_language_model`.
    """
    vocabulary = load_tokenizer(checkpoint_name).get_vocab()
    file = _fetched_tensor(checkpoint_name, _EMBEDDING)
    if file is not None:
        [embeddings] = load_tensors(file).values()
    else:
        folder = _checkpoint_folder(checkpoint_name)
        with _explained(checkpoint_name, folder):
            path, key = _find_tensor(folder, _EMBEDDING)
            with safe_open(path, framework="pt") as tensors:
                embeddings = tensors.get_tensor(key)
    embeddings = embeddings.to(torch.float32).numpy().copy()  # no window on the file
    return sorted(vocabulary, key=vocabulary.get), embeddings


def _checkpoint_folder(name: str, weights: bool = True) -> Path:
    """Return the local folder of a checkpoint, downloading it from the hub if need be."""
    place = checkpoint(name)
    folder = Path(place)
    if place == name and not folder.is_dir():
        folder = _hub_folder(name, weights)
    for file in ("config.json", "vocab.txt"):
        if not (folder / file).is_file():
            raise FileNotFoundError(_not_found(name, f"{folder} holds no {file}"))
    return folder


def _hub_folder(name: str, weights: bool) -> Path:
    """Return the hub's local copy of a model; made on first use, with the hub's own bars."""
    bars = os.environ.get("DLFB_PROGRESS") != "0"
    if name in PINNED_CHECKPOINTS:
        with _quiet(bars):
            return checkpoint_folder(name, weights)
    try:
        folder = Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
        if (folder / "vocab.txt").is_file() and any(folder.glob("*.safetensors")):
            return folder
    except (OSError, ValueError):
        pass  # no copy yet
    try:
        with _quiet(bars):
            return Path(snapshot_download(name, allow_patterns=_FILES))
    # The hub's client raises its own kinds, those of its HTTP library, and ValueErrors.
    except Exception as error:
        raise FileNotFoundError(_not_found(name, _first_line(error))) from error


def _fetched_tensor(name: str, suffix: str) -> bytes | None:
    """Return a safetensors file of one tensor, None unless the checkpoint is to come in parts."""
    if checkpoint(name) != name or Path(name).is_dir() or name not in PINNED_CHECKPOINTS:
        return None
    with _quiet():
        return fetch_tensor(name, suffix)


def _find_tensor(folder: Path, suffix: str) -> tuple[Path, str]:
    """Return the file and the full name of the tensor whose name ends in `suffix`."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():  # large models are cut into several files
        weights = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    else:
        with safe_open(folder / "model.safetensors", framework="pt") as tensors:
            weights = dict.fromkeys(tensors.keys(), "model.safetensors")
    for key, file in weights.items():
        if key.endswith(suffix):
            return folder / file, key
    raise ValueError(f"no tensor named '...{suffix}' in it")


@contextmanager
def _explained(name: str, folder: Path) -> Iterator[None]:
    """Turn whatever a damaged or foreign checkpoint raises into a sentence."""
    where = f"The checkpoint {name!r} in {folder}"
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind != "esm":
            raise ValueError(f"its model type is {kind!r}, and only 'esm' (ESM2) is known here")
        yield
    except (
        OSError,
        ValueError,
        RuntimeError,
        AttributeError,
        LookupError,
        SafetensorError,
    ) as error:
        raise ValueError(
            f"{where} can't be read: {_first_line(error)}. It must hold the config.json, "
            "vocab.txt and safetensors weights of an ESM2 model, unharmed."
        ) from error


def _not_found(name: str, why: str) -> str:
    if edition() == "pocket" and not os.environ.get("DLFB_CHECKPOINTS"):
        ways = "Install dlfb anew, or set DLFB_EDITION=full for the book's models."
    else:
        ways = (
            "Connect to the network once, so that it can be downloaded; or set DLFB_CHECKPOINTS "
            "to a folder that has it, or to 'pocket' for the small model that comes with dlfb."
        )
    return f"The language model {name!r} can't be had in the {edition()} edition: {why}. {ways}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextmanager
def _quiet(bars: bool = False) -> Iterator[None]:
    """Silence bars, warnings and load report of the libraries, then set all as it was."""
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    had_bars, hub_had_bars = hf_logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        if not bars:
            hf_logging.disable_progress_bar()  # the hub's too
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if had_bars:
                hf_logging.enable_progress_bar()
            if hub_had_bars:
                enable_progress_bars()
            else:
                disable_progress_bars()
