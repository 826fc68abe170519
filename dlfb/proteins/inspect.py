"""Asking a language model what it expects at a place in a protein (notebook 04)."""

import operator

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from dlfb.proteins.encoder import check_order
from dlfb.proteins.sequences import AMINO_ACIDS, CLASS_COLORS, amino_acid_class, clean_sequence


class MaskPredictor:
    """Hides one residue of a protein and lets a language model guess it.

    `tokenizer` and `model` are as ``load_language_model(name, masked=True)`` returns them, or
    transformers' ``from_pretrained``.
    """

    def __init__(self, tokenizer, model):
        check_order(tokenizer, model)
        if not hasattr(model, "lm_head"):
            raise ValueError(
                f"MaskPredictor: a {type(model).__name__} has no head that predicts masked "
                "tokens. Load the model with load_language_model(..., masked=True)."
            )
        self.tokenizer, self.model = tokenizer, model

    def mask_sequence(self, sequence: str, mask_index: int) -> str:
        """Return the sequence with one residue hidden, such as ``"MA<mask>WM"``.

        Residues are counted from 0; a `mask_index` outside the sequence is a ValueError.
        """
        sequence = clean_sequence(sequence)
        if isinstance(mask_index, bool | np.bool_) or not hasattr(mask_index, "__index__"):
            raise ValueError(f"mask_index must be a whole number, not {mask_index!r}.")
        index = operator.index(mask_index)
        if not 0 <= index < len(sequence):
            raise ValueError(
                f"mask_index {index} lies outside the sequence: residues are counted from 0, so "
                f"one of {len(sequence)} has 0 to {len(sequence) - 1}."
            )
        return f"{sequence[:index]}{self.tokenizer.mask_token}{sequence[index + 1 :]}"

    def predict(self, sequence: str, mask_index: int) -> pd.Series:
        """Return how probable the model finds each amino acid at a hidden place.

        They are 20 probabilities indexed by one-letter code, the most probable first. They add up
        to 1: the little that the model gives to its other 13 tokens is left out.
        """
        masked = self.mask_sequence(sequence, mask_index)
        inputs = self.tokenizer(masked, return_tensors="pt").to(self.model.device)
        # Found rather than calculated: <cls> moves residue i to token i + 1.
        position = (inputs["input_ids"][0] == self.tokenizer.mask_token_id).nonzero().item()
        with torch.inference_mode():
            logits = self.model(**inputs).logits[0, position]  # (33,)
        twenty = self.tokenizer.convert_tokens_to_ids(list(AMINO_ACIDS))
        probabilities = logits[twenty].double().softmax(0).cpu().numpy()
        index = pd.Index(AMINO_ACIDS, name="amino acid")
        result = pd.Series(probabilities, index=index, name="probability")
        return result.sort_values(ascending=False, kind="stable")

    def plot_predictions(self, sequence: str, mask_index: int) -> Figure:
        """Draw what `predict` returns, with the true residue marked and the model named.

        The figure is closed for pyplot, so that a notebook shows it once, as what a cell returns.
        """
        probabilities = self.predict(sequence, mask_index)
        true = clean_sequence(sequence)[mask_index]
        classes = pd.Index([amino_acid_class(letter) for letter in probabilities.index])
        figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
        for name in [name for name in CLASS_COLORS if name in classes]:
            places = np.flatnonzero(classes == name)
            ax.bar(places, probabilities.iloc[places], color=CLASS_COLORS[name], label=name)
        ax.set_xticks(range(len(probabilities)), probabilities.index)
        ax.set(xlabel="amino acid", ylabel="probability", ylim=(0, probabilities.max() * 1.05))
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)  # now: its patches are copies of the first bars
        if true in probabilities.index:  # a rare letter such as U is none of the twenty
            place = probabilities.index.get_loc(true)
            [bar] = [bar for bar in ax.patches if round(bar.get_center()[0]) == place]
            bar.set(edgecolor="black", linewidth=2)
            ax.get_xticklabels()[place].set_fontweight("bold")
        name = getattr(self.model, "dlfb_checkpoint", self.model.name_or_path)
        ax.set_title(f"{name}: residue {mask_index} hidden, in truth {true}", fontsize="medium")
        plt.close(figure)
        return figure
