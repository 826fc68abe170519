"""Protein language models: ESM2, and other families for embeddings (notebooks 03 to 05).

Only configuration, vocabulary and safetensors are fetched from the Hugging Face hub, none of which
can carry code.
"""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import huggingface_hub
import numpy as np
import requests
import torch
import transformers
from huggingface_hub import constants
from transformers.utils import logging as hf_logging

from dlfb.proteins.encoder import FAMILIES
from dlfb.utils.context import checkpoint, checkpoint_name

#: Names are pinned to these revisions on the hub. The licence of all is MIT.
REVISIONS = {
    "facebook/esm2_t6_8M_UR50D": "c731040fcd8d73dceaa04b0a8e6329b345b0f5df",
    "facebook/esm2_t12_35M_UR50D": "6fbf070e65b0b7291e7bbcd451118c216cff79d8",
    "facebook/esm2_t30_150M_UR50D": "a695f6045e2e32885fa60af20c13cb35398ce30c",
    "facebook/esm2_t33_650M_UR50D": "08e4846e537177426273712802403f7ba8261b6c",
}
_INDEX = "model.safetensors.index.json"  # of a large model, which is in several files
# By type of model: the names of its classes, and the files that may have its vocabulary.
_KINDS = {
    "esm": ("EsmModel", "EsmTokenizer", ["vocab.txt"]),
    "esmc": ("EsmcModel", "EsmcTokenizer", ["tokenizer.json"]),
    "bert": ("BertModel", "BertTokenizer", ["vocab.txt", "tokenizer.json"]),
    "t5": ("T5EncoderModel", "T5Tokenizer", ["tokenizer.json", "spiece.model"]),
}
_SMALL = ["config.json", "vocab.txt", "spiece.model", "*token*.json", _INDEX]
# Recomputed or unused here, so a checkpoint need not have them.
_DISPENSABLE = ("contact_head", "inv_freq", "position_ids", "lm_head.decoder")


def load_language_model(
    name: str, masked: bool = False
) -> tuple[transformers.PreTrainedTokenizerBase, transformers.PreTrainedModel]:
    """Load a protein language model and its tokenizer: on the CPU, in float32, for evaluation.

    `name` is such as ``"facebook/esm2_t6_8M_UR50D"``. With `masked`, an ESM2 has the head that
    predicts masked tokens and returns logits; otherwise, a model returns hidden states. The
    attribute ``dlfb_checkpoint`` of both is the true name, in the pocket edition the small model's.

    FileNotFoundError if the checkpoint is not there and can't be downloaded; ValueError if it is
    not complete, or, before the weights are downloaded, of a family that can't be used.
    """
    folder, kind = _folder(name, kinds=["esm"] if masked else _KINDS)
    options = {"add_pooling_layer": False} if kind in ("esm", "bert") and not masked else {}
    with _quiet(), _explained(name, folder):
        tokenizer = _tokenizer(folder, kind)
        model_class = getattr(transformers, "EsmForMaskedLM" if masked else _KINDS[kind][0])
        model, report = model_class.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True,
            ignore_mismatched_sizes=True, **options,
        )  # fmt: skip
        # from_pretrained fills gaps with random numbers, and the model would answer nonsense.
        gaps = [key for key in report["missing_keys"] if not any(d in key for d in _DISPENSABLE)]
        gaps += [key for key, *_ in report["mismatched_keys"]]
        if gaps:
            raise ValueError(f"it lacks {len(gaps)} weights of the model, such as {min(gaps)!r}")
    tokenizer.dlfb_checkpoint = model.dlfb_checkpoint = checkpoint_name(name)
    return tokenizer, model.eval()


def load_tokenizer(name: str) -> transformers.PreTrainedTokenizerBase:
    """Load what turns sequences into token ids, as `load_language_model` does with the model."""
    folder, kind = _folder(name, weights=False)
    with _quiet(), _explained(name, folder):
        tokenizer = _tokenizer(folder, kind)
    tokenizer.dlfb_checkpoint = checkpoint_name(name)
    return tokenizer


def _tokenizer(folder: Path, kind: str) -> transformers.PreTrainedTokenizerBase:
    # T5's own class would put a space before each token, which Ankh's vocabulary does not have.
    as_it_is = kind == "t5" and (folder / "tokenizer.json").is_file()
    name = "PreTrainedTokenizerFast" if as_it_is else _KINDS[kind][1]
    return getattr(transformers, name).from_pretrained(folder)


def token_embeddings(name: str) -> tuple[list[str], np.ndarray]:
    """Return a model's tokens in the order of their ids, and their input embeddings (tokens, D).

    ESM2 (Lin et al. 2023, Science 379:1123) has 25 letters of amino acids and 8 special tokens.
    """
    tokenizer, model = load_language_model(name)
    table = model.get_input_embeddings().weight.detach().numpy()
    return tokenizer.convert_ids_to_tokens(range(len(table))), table


def _folder(name: str, weights: bool = True, kinds: Iterable[str] = _KINDS) -> tuple[Path, str]:
    """Return the local folder of a checkpoint, downloaded if necessary, and its type of model."""
    place = checkpoint(name)
    on_disk = place != name or Path(place).is_dir()
    folder = Path(place) if on_disk else _hub_folder(name, weights=False)
    with _explained(name, folder):
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind not in kinds:
            usable = FAMILIES if kinds is _KINDS else "only ESM2 ('esm')"
            raise ValueError(f"its model type is {kind!r}, and {usable} can be used here")
        if not hasattr(transformers, _KINDS[kind][0]):
            raise ValueError(f"transformers {transformers.__version__} does not know {kind!r} yet")
        if not any((folder / file).is_file() for file in _KINDS[kind][2]):
            raise ValueError(f"it has no {' or '.join(_KINDS[kind][2])}")
    return folder if on_disk or not weights else _hub_folder(name, weights=True), kind


def _hub_folder(name: str, weights: bool) -> Path:
    """Return the hub's copy on this disk; what is missing is fetched and its SHA-256 checked."""
    patterns = [*_SMALL, "*.safetensors"] if weights else _SMALL
    asked = {"revision": REVISIONS.get(name), "allow_patterns": patterns}
    fetch = partial(huggingface_hub.snapshot_download, name, **asked)
    try:  # without any request
        folder = Path(fetch(local_files_only=True))
        there = {path.name for path in folder.iterdir() if path.is_file()}
        needed = {"model.safetensors" if weights else "config.json"}
        if weights and _INDEX in there:
            needed = {*json.loads((folder / _INDEX).read_text("utf8"))["weight_map"].values()}
        if needed <= there and any(there & {*names} for *_, names in _KINDS.values()):
            return folder
    except (OSError, ValueError):
        pass  # no copy yet
    with _from_hub(name), _quiet(bars=os.environ.get("DLFB_PROGRESS") != "0"):
        folder = Path(fetch())
    if weights and not any(folder.glob("*.safetensors")):
        fault = f"{name} has no weights as safetensors, and other files could carry code"
        way_out = "save model and tokenizer with transformers' save_pretrained('folder')"
        raise ValueError(f"{fault}. If you trust it, {way_out}, and use 'folder' as the name.")
    for link in folder.glob("*.safetensors"):
        blob = link.resolve()  # its name is the SHA-256 that was announced
        with blob.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if len(blob.name) == len(found) and blob.name != found:
            blob.unlink()
            fault = f"The {link.name} of {name} that arrived is not what was published (SHA-256)"
            raise ValueError(f"{fault}. It was deleted. Ask again to download it.")
    return folder


@contextmanager
def _from_hub(name: str) -> Iterator[None]:
    """Turn any error of the hub's client into a sentence."""
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        # Without a network, the client itself would retry for half a minute.
        requests.head(constants.ENDPOINT, timeout=10)
        yield
    except Exception as error:  # its own kinds, those of its HTTP library, and ValueErrors
        fault = f"{name!r} can't be downloaded from {constants.ENDPOINT} ({_first_line(error)})"
        way_out = "set DLFB_CHECKPOINTS to a folder that has it, or to 'pocket'"
        raise FileNotFoundError(f"{fault}. Connect to the network, or {way_out}.") from error


@contextmanager
def _explained(name: str, folder: Path) -> Iterator[None]:
    """Turn any error from a damaged or unknown checkpoint into a sentence."""
    try:
        yield
    except Exception as error:
        fault = f"The checkpoint {name!r} in {folder} can't be read: {_first_line(error)}"
        raise ValueError(f"{fault}. It needs config.json, vocabulary and safetensors.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def _quiet(bars: bool = False) -> Iterator[None]:
    """Silence progress bars, warnings and load reports of the libraries, then restore them."""
    disabled, had_bars = logging.root.manager.disable, hf_logging.is_progress_bar_enabled()
    logging.disable(max(disabled, logging.WARNING))
    if not bars:
        hf_logging.disable_progress_bar()  # the hub's too
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(disabled)
        if had_bars:
            hf_logging.enable_progress_bar()
