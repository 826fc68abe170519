"""Fine-tuning a language model, and asking what a prediction rests on (notebook 12)."""

import copy
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence

from dlfb.proteins.sequences import clean_sequence

_PAD, _LAST_SPECIAL, _MASK = 1, 2, 32  # ids in ESM2's vocabulary: <pad>, <eos>, <mask>


class FunctionPredictor(nn.Module):
    """A language model with adapters, and a network from the mean of its states to functions.

    An ESM2 of width D is copied, and its weights are frozen. The adapters (LoRA; Hu et al., ICLR
    2022) are pairs of matrices of a small `rank`, added to the queries, keys and values of each
    layer; before training they change nothing. The network is that of
    :class:`dlfb.proteins.model.Model` with a dropout of 0.3. It standardises its input by
    `vectors`, the mean embeddings of the training proteins, (N, D).
    """

    def __init__(self, language_model, vectors, num_targets: int, rank: int = 8, seed: int = 42):
        super().__init__()
        language_model = copy.deepcopy(getattr(language_model, "esm", language_model))
        vectors, config = torch.as_tensor(vectors), language_model.config
        if config.model_type != "esm" or vectors.shape[1:] != (config.hidden_size,):
            raise ValueError(
                f"FunctionPredictor: the language model must be an ESM2, and vectors have its "
                f"width; it is of type {config.model_type!r} and width {config.hidden_size}, and "
                f"they of shape {tuple(vectors.shape)}. Embed the training proteins with it."
            )
        self.register_buffer("mean", vectors.mean(0))
        self.register_buffer("deviation", vectors.std(0))
        for layer in language_model.encoder.layer:  # the same in one pass over memory, not in five
            layer.intermediate = nn.Sequential(layer.intermediate.dense, nn.GELU())
        lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["query", "key", "value"])
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoder = inject_adapter_in_model(lora, language_model)
            self.head = nn.Sequential(
                nn.Linear(config.hidden_size, 512), nn.GELU(), nn.Dropout(0.3),
                nn.Linear(512, 256), nn.GELU(), nn.Dropout(0.3),
                nn.Linear(256, num_targets),
            )  # fmt: skip

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return logits (B, T) for token ids (B, L), or for mean embeddings (B, D)."""
        if not batch.is_floating_point():
            states = self.encoder(batch, batch != _PAD).last_hidden_state
            residues = (batch > _LAST_SPECIAL).float()[..., None]
            batch = (states * residues).sum(1) / residues.sum(1)
        return self.head((batch - self.mean) / self.deviation)


def tokenize(tokenizer, sequences: Iterable[str]) -> list[torch.Tensor]:
    """Return the token ids of each protein, (L + 2,), with ``<cls>`` and ``<eos>``."""
    clean = [clean_sequence(sequence) for sequence in sequences]
    return [torch.tensor(ids) for ids in tokenizer(clean)["input_ids"]]


def fit(
    predictor, inputs, targets, steps: int, batch_size=32, rate=1e-3, precision="exact", seed=42
) -> Iterator[float]:
    """Train in place, yielding the loss of each step; without a loop over it nothing happens.

    AdamW with a weight decay of 0.1 and a learning rate that rises to `rate` and falls to 0. What
    is frozen (``predictor.head.requires_grad_(False)``) does not learn. `inputs` are N tensors from
    :func:`tokenize`, or mean embeddings (N, D), from which only the network learns. `targets`
    (N, T) are 0, 1, or NaN for unknown. The proteins of a batch are of similar length. With
    ``precision="fast"``, matrix products are in bfloat16, which not every processor is fast at.
    """
    targets = torch.as_tensor(targets, dtype=torch.float32)
    if len(inputs) != len(targets):
        raise ValueError(f"fit: {len(inputs)} proteins, but {len(targets)} rows of targets.")
    rng, device = np.random.default_rng(seed), predictor.mean.device
    weights = [weight for weight in predictor.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, cycle_momentum=False)
    lengths, batches = np.array([len(each) for each in inputs]), []
    for step in range(steps):
        if not batches:  # a new round of all proteins, those of similar length together
            order = np.argsort(lengths + rng.uniform(0, 30, len(lengths)))
            batches = np.array_split(order, -(-len(order) // batch_size))
        rows = batches.pop(rng.integers(len(batches)))
        batch = pad_sequence([inputs[row] for row in rows], True, _PAD)
        truth = targets[rows].to(device)
        fast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "fast")
        with torch.random.fork_rng(), fast:
            torch.manual_seed(seed + step)
            logits = predictor.train()(batch.to(device)).float()
        known = ~truth.isnan()
        loss = binary_cross_entropy_with_logits(logits[known], truth[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield loss.item()


@torch.inference_mode()
def predict(predictor: FunctionPredictor, inputs: Sequence[torch.Tensor]) -> np.ndarray:
    """Return the probability of each function for each protein, read whole, (N, T), float32."""
    order = np.argsort([len(each) for each in inputs], kind="stable")
    batches = [
        pad_sequence([inputs[row] for row in rows], True, _PAD).to(predictor.mean.device)
        for rows in np.array_split(order, -(-len(order) // 16))
    ]
    logits = torch.cat([predictor.eval()(batch) for batch in batches])
    return logits.sigmoid().cpu().numpy()[np.argsort(order)]


@torch.inference_mode()
def occlusion(
    predictor: FunctionPredictor, tokens: torch.Tensor, target: int, width: int = 1
) -> np.ndarray:
    """Return how far a function's logit falls when a residue is masked, for each, (L,).

    `tokens` is one protein of L residues, from :func:`tokenize`; `target` the function's column.
    With an odd `width` above 1, the neighbours on both sides are masked with it. (Occlusion; Zeiler
    & Fergus, ECCV 2014.)
    """
    places = torch.arange(len(tokens))
    hidden = (places[1:-1, None] - places).abs() <= width // 2
    masked = tokens.where(~hidden | (tokens <= _LAST_SPECIAL), _MASK)
    whole, *others = (predictor.eval()(b)[:, target] for b in (tokens[None], *masked.split(16)))
    return (whole - torch.cat(others)).numpy()


def integrated_gradients(
    predictor: FunctionPredictor, tokens: torch.Tensor, target: int, steps: int = 64
) -> np.ndarray:
    """Attribute a function's logit to the residues, (L,); arguments as for `occlusion`.

    The gradients are integrated (Sundararajan et al., ICML 2017) over `steps` points of a path from
    zeros in place of all residues, which is what ESM2 makes of masked ones, to the residues' own
    vectors. The attributions add up to the difference between the logits at its ends.
    """
    table = predictor.eval().encoder.get_input_embeddings()
    vectors, residues = table(tokens).detach(), tokens > _LAST_SPECIAL
    # Points are dense near zero, where the logit changes fast: layer norms don't see the scale.
    points, weights = (torch.tensor(x).float() for x in np.polynomial.legendre.leggauss(steps))
    root = (points + 1) / 2
    shares, weights = torch.where(residues, root[:, None] ** 2, 1.0)[..., None], weights * root
    total = torch.zeros_like(vectors)
    for share, weight in zip(shares.split(16), weights.split(16), strict=True):
        inputs = (share * vectors).requires_grad_()
        hook = table.register_forward_hook(lambda *_, inputs=inputs: inputs)
        try:
            logits = predictor(tokens.expand(len(inputs), -1))[:, target]
        finally:
            hook.remove()
        [gradients] = torch.autograd.grad(logits.sum(), inputs)
        total += torch.einsum("s,sld->ld", weight, gradients)
    return (total * vectors).sum(-1)[residues].numpy()
