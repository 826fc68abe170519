"""ESM2's forward pass on a CPU: the states of proteins laid end to end, without padding.

Every step of a transformer but attention looks at one position at a time, so these steps take
all tokens of several proteins as one long list; attention alone is told where a protein ends
and the next begins. The weights are those of transformers' ``EsmModel``, and so is the result,
to float32 rounding. A token costs less, too: matrix products take their weights in the layout
that oneDNN prefers and apply GELU on the way, a layer's query, key and value are one product,
and the rotary turn is one multiplication of complex numbers.

Architecture: Lin et al. 2023, Science 379:1123; rotary positions: Su et al. 2021,
arXiv:2104.09864.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import EsmModel

# For each thread. Measured: with half as many, what a batch costs apart from its tokens (oneDNN
# prepares a product for each new number of them) is a tenth; more gain little.
CPU_TOKENS = 2048

# In training, 12 % of the positions (80 % of 15 %) were masked, and masked tokens were zeroed
# ("token dropout"); where nothing is masked, ESM2 scales its embeddings down to make up for it.
_TOKEN_DROPOUT_SCALE = 1 - 0.15 * 0.8


class Product(NamedTuple):
    """A linear step, for :func:`linear`: the weight (out, in) may be in oneDNN's own layout."""

    weight: Tensor
    bias: Tensor


class Layer(NamedTuple):
    """One layer's weights."""

    attention_norm: nn.LayerNorm
    qkv: Product
    attention_out: Product
    feed_forward_norm: nn.LayerNorm
    widen: Product
    narrow: Product


def can_pack(model: EsmModel) -> bool:
    """Whether `model` is plain ESM2, so that :func:`packed_states` gives what it would give.

    A layer of another class (an adapter, say), a hook, or another kind of position
    means no.
    """
    config = model.config
    plain = {nn.Linear, nn.LayerNorm, nn.Dropout, nn.Embedding, nn.Sigmoid, nn.ModuleList}
    return (
        type(model) is EsmModel
        and config.position_embedding_type == "rotary"
        and not (config.is_decoder or config.emb_layer_norm_before)
        and all(
            type(part) in plain or type(part).__module__ == EsmModel.__module__
            for part in model.modules()
        )
        and not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    )


def layers(model: EsmModel, dtype: torch.dtype = torch.float32) -> list[Layer]:
    """Gather each layer's weights, cast to `dtype`; layer norms stay as they are.

    The query's and the key's rows are in another order: the two that the rotary turn takes
    as a pair, half a head apart in the model, are neighbours here. The products of queries
    and keys, which are all that attention sees of them, are the same.
    """
    n_heads = model.config.num_attention_heads

    def pairs_together(x: Tensor) -> Tensor:
        return x.unflatten(0, (n_heads, 2, -1)).transpose(1, 2).flatten(0, 2)

    def qkv(attention: nn.Module) -> Product:
        weight, bias = (
            torch.cat([
                pairs_together(getattr(attention.query, part)),
                pairs_together(getattr(attention.key, part)),
                getattr(attention.value, part),
            ])
            for part in ("weight", "bias")
        )  # fmt: skip
        return prepare(weight, bias, dtype)

    def cast(step: nn.Linear) -> Product:
        return prepare(step.weight, step.bias, dtype)

    with torch.no_grad():
        return [
            Layer(
                layer.attention.LayerNorm,
                qkv(layer.attention.self),
                cast(layer.attention.output.dense),
                layer.LayerNorm,
                cast(layer.intermediate.dense),
                cast(layer.output.dense),
            )
            for layer in model.encoder.layer
        ]


def prepare(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Product:
    """Return a linear step in `dtype`, its weights in oneDNN's layout where that is quicker."""
    weight, bias = weight.to(dtype), bias.to(dtype)
    # What torch.compile makes of a linear step on such processors. PyTorch's own product puts the
    # weights in order anew each time; on two cores it took 1.2 to 1.7 times as long in float32.
    if torch.backends.cpu.get_cpu_capability().startswith("AVX") and _onednn_works(dtype):
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, CPU_TOKENS)
    return Product(weight, bias)


@cache
def _onednn_works(dtype: torch.dtype) -> bool:
    """Try it: the operations have no public name, so a release of torch may lack or change them."""
    x = torch.eye(16, dtype=dtype)
    try:
        weight = torch.ops.mkldnn._reorder_linear_weight(x, 16)
        y = linear(x, Product(weight, torch.zeros(16, dtype=dtype)), "gelu")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(y, F.gelu(x), atol=1e-2)


def linear(x: Tensor, step: Product, activation: str = "none") -> Tensor:
    """Return x W' + b, and ``gelu`` of it if that is the activation."""
    if step.weight.is_mkldnn:
        return torch.ops.mkldnn._linear_pointwise(x, *step, activation, [], "none")
    y = F.linear(x, *step)
    return F.gelu(y) if activation == "gelu" else y


def packed_states(
    model: EsmModel, weights: list[Layer], ids: Tensor, lengths: Sequence[int]
) -> Tensor:
    """Return the last hidden state of every token of several proteins.

    Parameters
    ----------
    model : EsmModel
        For which :func:`can_pack` holds.
    weights : list of Layer
        From :func:`layers`; their dtype is that of the matrix products. Layer norms,
        rotary tables and the sums from layer to layer are float32 in any case.
    ids : Tensor of int64, shape (T,)
        The proteins' tokens, each protein with its own ``<cls>`` and ``<eos>``, none
        of them ``<mask>``.
    lengths : sequence of int
        How many tokens each protein has, T in all.

    Returns
    -------
    Tensor of float32, shape (T, D)
    """
    dtype = weights[0].qkv.bias.dtype
    x = F.embedding(ids, model.embeddings.word_embeddings.weight)  # (T, D)
    if model.config.token_dropout:
        x = x * _TOKEN_DROPOUT_SCALE
    turn = _rotary_turn(model, lengths)
    for layer in weights:
        qkv = linear(_norm(layer.attention_norm, x, dtype), layer.qkv)
        heads = _attention(qkv, turn, lengths, model.config.num_attention_heads)
        x += linear(heads, layer.attention_out)
        wide = linear(_norm(layer.feed_forward_norm, x, dtype), layer.widen, "gelu")
        x += linear(wide, layer.narrow)
    return _norm(model.encoder.emb_layer_norm_after, x, torch.float32)


def _norm(norm: nn.LayerNorm, x: Tensor, dtype: torch.dtype) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps).to(dtype)


def _rotary_turn(model: EsmModel, lengths: Sequence[int]) -> Tensor:
    """Return what turns every token's pairs: complex64, (T, 1, half a head's size)."""
    frequencies = model.rotary_embeddings.inv_freq.float()
    counts = torch.cat([torch.arange(n) for n in lengths])
    angles = counts[:, None, None] * frequencies
    return torch.polar(torch.ones_like(angles), angles)


def _attention(qkv: Tensor, turn: Tensor, lengths: Sequence[int], n_heads: int) -> Tensor:
    """Attend within each protein: (T, 3 D) -> (T, D). May write over `qkv`."""
    qk, v = qkv.unflatten(1, (3 * n_heads, -1)).split([2 * n_heads, n_heads], 1)
    # The pair (a, b), as a + bi, times cos + i sin: (a cos - b sin, b cos + a sin).
    pairs = torch.view_as_complex(qk.float().unflatten(2, (-1, 2))).mul_(turn)
    q, k = torch.view_as_real(pairs).flatten(2).to(qkv.dtype).split(n_heads, 1)
    out = [
        F.scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in protein))
        for protein in zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    ]  # each (1, heads, length, size)
    return torch.cat([x[0].transpose(0, 1) for x in out]).flatten(1)
