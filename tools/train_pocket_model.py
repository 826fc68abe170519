"""Train the pocket edition's protein language model: one command, seeded, resumable.

    python tools/train_pocket_model.py --corpus CORPUS.fasta.gz --work DIR --tokens 40e6
    python tools/train_pocket_model.py --work DIR --export dlfb/pocket/model

The architecture is ESM2's (``EsmForMaskedLM``; Lin et al., Science 2023) and so is the task:
15 % of the residues are to be recovered, of which 80 % are masked, 10 % replaced by a random
residue and 10 % left alone, with token dropout and rotary positions. What is not ESM2's is how
a small budget is spent:

* no padding: a crop is cut to a multiple of 32 tokens and batches hold crops of one length, so
  attention needs no mask;
* proteins are drawn by cluster (weight 1 / sqrt(cluster size), ``--by-cluster``), not one by one,
  so that large families do not rule;
* crops start short and grow (``--crops``), because attention is the dearest part on a CPU;
* matrix products in bfloat16, everything else in float32;
* Muon (Jordan et al. 2024) for the hidden matrices, AdamW for the rest; warm-up, plateau, decay.

The held-out set is whole clusters (MMseqs2 at 25 % identity over 60 % of both lengths), never
single proteins: a relative in the training set would make a model look better than it is.
Simulated members of the pocket families join the mixture (``--simulated``), never the ones the
edition ships: the seeds differ, and equal sequences are refused.
"""

import argparse
import gzip
import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import EsmConfig, EsmForMaskedLM

VOCABULARY = [
    "<cls>",
    "<pad>",
    "<eos>",
    "<unk>",
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    "<null_1>",
    "<mask>",
]
CLS, EOS, MASK = 0, 2, 32
FIRST_RESIDUE, LAST_RESIDUE = 4, 23  # L .. C, the twenty standard amino acids
MASKED_SHARE = 0.15


# ---------------------------------------------------------------- data


def read_corpus(path):
    """Return ids, species and sequences of a FASTA file whose headers read ``id OX=taxon``."""
    opener = gzip.open if str(path).endswith(".gz") else open
    ids, taxa, sequences = [], [], []
    with opener(path, "rt") as lines:
        for line in lines:
            if line.startswith(">"):
                name, _, taxon = line[1:].strip().partition(" OX=")
                ids.append(name)
                taxa.append(taxon)
                sequences.append([])
            else:
                sequences[-1].append(line.strip())
    return np.array(ids), np.array(taxa), ["".join(parts) for parts in sequences]


def cluster(corpus, work):
    """Return {id: representative}, by MMseqs2 (the Debian package ``mmseqs2``), kept in `work`."""
    table = work / "clusters_cluster.tsv"
    if not table.exists():
        if shutil.which("mmseqs") is None:
            sys.exit("mmseqs is not installed: it makes the held-out clusters (package mmseqs2).")
        subprocess.run(
            ["mmseqs", "easy-cluster", str(corpus), str(work / "clusters"), str(work / "tmp")]
            + ["--min-seq-id", "0.25", "-c", "0.6", "--cov-mode", "0", "-v", "2"],
            check=True,
        )
    pairs = (line.rstrip("\n").split("\t") for line in table.open())
    return {member: representative for representative, member in pairs}


def hold_out(ids, representative, share=0.02, seed=7):
    """Return (cluster sizes per protein, mask of held-out proteins): whole clusters at random.

    Insulin's cluster is never held out: the chapter asks the model about insulin.
    """
    _, code, counts = np.unique(
        [representative[i] for i in ids], return_inverse=True, return_counts=True
    )
    chosen = np.random.default_rng(seed).random(len(counts)) < share
    chosen[np.unique(code[np.isin(ids, ["P01308"])])] = False
    return counts[code], chosen[code]


def tokenize(sequence):
    """Return a protein's token ids with <cls> and <eos>, as uint8."""
    lookup = np.full(128, 3, np.uint8)
    for token, letter in enumerate(VOCABULARY):
        if len(letter) == 1:
            lookup[ord(letter)] = token
    residues = lookup[np.frombuffer(sequence.encode(), np.uint8)]
    return np.concatenate(([CLS], residues, [EOS])).astype(np.uint8)


def load_data(args):
    """Return (tokenized proteins, weights of being drawn, held-out human ones, held-out others)."""
    ids, taxa, sequences = read_corpus(args.corpus)
    sizes, held_out = hold_out(ids, cluster(args.corpus, args.work))
    proteins = [tokenize(s) for s in sequences]
    test = np.flatnonzero(held_out)
    human = [proteins[i] for i in test if taxa[i] == "9606"][:150]
    other = [proteins[i] for i in test if taxa[i] != "9606"][:150]
    # A long protein offers more crops than a short one, a large family less news per member.
    weights = np.minimum([len(p) for p in proteins], 512) / sizes**args.by_cluster
    weights[held_out] = 0.0
    weights /= weights.sum()
    if args.simulated:
        simulated = [tokenize(s) for s in simulated_relatives(args.seed)]
        share = np.full(len(simulated), args.simulated / len(simulated))
        weights = np.concatenate((weights * (1 - args.simulated), share))
        proteins += simulated
    return proteins, weights, human, other


def micro_batches(proteins, weights, crop, micro_tokens, rng, draws=4096):
    """Return a shuffled list of (rows, length) arrays: crops of equal length, no padding."""
    by_length = {}
    for index in rng.choice(len(proteins), size=draws, p=weights):
        tokens = proteins[index]
        length = min(len(tokens), crop) // 32 * 32 or len(tokens)
        start = rng.integers(len(tokens) - length + 1)
        by_length.setdefault(length, []).append(tokens[start : start + length])
    batches = []
    for length, rows in by_length.items():
        size = max(1, micro_tokens // length)
        batches += [np.stack(rows[i : i + size]) for i in range(0, len(rows), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def corrupt(tokens, rng):
    """Return (corrupted tokens, flat positions to recover): ESM2's 15 %, 80/10/10."""
    residue = (tokens >= FIRST_RESIDUE) & (tokens <= LAST_RESIDUE)
    chosen = residue & (rng.random(tokens.shape) < MASKED_SHARE)
    fate = rng.random(tokens.shape)
    random_residue = rng.integers(FIRST_RESIDUE, LAST_RESIDUE + 1, tokens.shape)
    corrupted = np.where(chosen & (fate < 0.8), MASK, tokens)
    corrupted = np.where(chosen & (fate >= 0.9), random_residue, corrupted)
    return corrupted.astype(np.int64), np.flatnonzero(chosen)


# ---------------------------------------------------------------- model


def new_model(hidden, layers, heads, plain=False):
    """Return an untrained EsmForMaskedLM of ESM2's architecture."""
    config = EsmConfig(
        vocab_size=33, mask_token_id=MASK, pad_token_id=1, hidden_size=hidden,
        num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden,
        position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=1026,
        layer_norm_eps=1e-5, initializer_range=0.02, architectures=["EsmForMaskedLM"],
    )  # fmt: skip
    model = EsmForMaskedLM(config)
    if not plain:
        start_with_neighbours(model)
    return model


@torch.no_grad()
def start_with_neighbours(model, sharpness=5.0):
    """Let the heads of the lower half of the blocks start out by looking at near residues.

    From a plain start a small model spends millions of tokens at the level of residue frequencies
    before any head finds its neighbours. With rotary positions, a query bias b and a key
    bias R(-d) b, R being the rotation by d positions, make a head look d residues away, whatever
    the content; training is free to move it elsewhere.
    """
    offsets = (-1, 1, 3, -2, 2, -3, -4, 4, 7, -7, 5, -5)
    config = model.config
    H, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    frequency = 10000.0 ** (-torch.arange(0, size, 2) / size)
    wanted = (frequency > 0.1).float()  # slow rotations can't tell near from far
    b = wanted * math.sqrt(sharpness * math.sqrt(size) / wanted.sum().item())
    for number, block in enumerate(model.esm.encoder.layer[: config.num_hidden_layers // 2]):
        attention = block.attention.self
        attention.query.bias.zero_()
        attention.key.bias.zero_()
        for head in range(H):
            turn = offsets[(number * H + head) % len(offsets)] * frequency
            first = slice(head * size, head * size + size // 2)
            second = slice(head * size + size // 2, (head + 1) * size)
            attention.query.bias[first] = b
            attention.key.bias[first] = b * turn.cos()
            attention.key.bias[second] = -b * turn.sin()


def masked_logits(model, tokens, positions, dtype=torch.bfloat16):
    """Return float32 logits (P, 33) at flat `positions` of `tokens` (B, L), rows without padding.

    The same function as ``model(tokens).logits`` at these positions (``--check`` compares them),
    without the generality: no attention mask, the head only where a residue is to be recovered.
    """
    config = model.config
    B, L = tokens.shape
    D, H = config.hidden_size, config.num_attention_heads
    linear = lambda x, layer: F.linear(x, layer.weight.to(dtype), layer.bias.to(dtype))  # noqa: E731
    norm = lambda x, layer: F.layer_norm(x, (D,), layer.weight, layer.bias, layer.eps)  # noqa: E731

    angle = torch.outer(torch.arange(L), 10000.0 ** (-torch.arange(0, D // H, 2) / (D // H)))
    angle = torch.cat((angle, angle), -1).to(tokens.device)
    cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)

    def rotate(x):
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat((-second, first), -1) * sin

    masked = tokens == MASK
    x = F.embedding(tokens, model.esm.embeddings.word_embeddings.weight)
    x = x.masked_fill(masked[..., None], 0.0)
    x = x * (0.88 / (1 - masked.float().mean(1)))[:, None, None]  # token dropout, as ESM2
    for block in model.esm.encoder.layer:
        attention = block.attention
        h = norm(x, attention.LayerNorm).to(dtype)
        q, k, v = (
            linear(h, layer).view(B, L, H, D // H).transpose(1, 2)
            for layer in (attention.self.query, attention.self.key, attention.self.value)
        )
        # Written out, because torch's fused attention for CPUs is half as fast at these sizes.
        scores = (rotate(q) * (D // H) ** -0.5) @ rotate(k).transpose(-1, -2)
        h = scores.softmax(-1) @ v
        x = x + linear(h.transpose(1, 2).reshape(B, L, D), attention.output.dense)
        h = norm(x, block.LayerNorm).to(dtype)
        x = x + linear(F.gelu(linear(h, block.intermediate.dense)), block.output.dense)
    x = norm(x.reshape(-1, D)[positions], model.esm.encoder.emb_layer_norm_after)
    return model.lm_head(x)


# ---------------------------------------------------------------- training


def make_optimizers(model, lr):
    """Return [Muon over the blocks' matrices, AdamW over embeddings, biases and norms]."""
    hidden, rest = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        (hidden if parameter.ndim == 2 and "encoder.layer" in name else rest).append(parameter)
    return [
        torch.optim.Muon(
            hidden, lr=lr, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(share, warm_up=0.01, decay=0.3):
    """Return the learning rate's factor at a share of the token budget: up, level, down to 0."""
    return min(1.0, share / warm_up, max(0.0, (1 - share) / decay))


@torch.no_grad()
def perplexity(model, proteins, crop=512, seed=11):
    """Return exp(mean cross-entropy) over 15 % of the residues, all masked, fixed by `seed`."""
    total = count = 0
    rng = np.random.default_rng(seed)
    for tokens in proteins:
        corrupted, positions = corrupt(tokens[None, :crop], rng)
        if len(positions):
            corrupted.reshape(-1)[positions] = MASK
            logits = masked_logits(model, torch.from_numpy(corrupted), torch.from_numpy(positions))
            target = torch.from_numpy(tokens[:crop].astype(np.int64))[positions]
            total += F.cross_entropy(logits, target, reduction="sum").item()
            count += len(positions)
    return math.exp(total / count)


def crop_at(stages, share):
    """Return the crop length at a share of the budget; stages such as ((128, .5), (256, 1))."""
    return next((crop for crop, until in stages if share < until), stages[-1][0])


def stream(proteins, weights, stages, args, rank, done):
    """Yield (corrupted, positions, target) without end; `done` tells the crop for the moment."""
    while True:
        rng = np.random.default_rng((args.seed, rank, done["steps"]))
        crop = crop_at(stages, done["tokens"] / args.tokens)
        for batch in micro_batches(proteins, weights, crop, args.micro_tokens, rng):
            corrupted, positions = corrupt(batch, rng)
            if len(positions):
                target = batch.reshape(-1)[positions].astype(np.int64)
                yield (
                    torch.from_numpy(corrupted),
                    torch.from_numpy(positions),
                    torch.from_numpy(target),
                )


def train(rank, args):
    """Train from the newest checkpoint in ``args.work``, or from scratch, to ``args.tokens``.

    One process with one thread for each core: the small products of a small model lose more
    to threads waiting for each other than the exchange of gradients costs.
    """
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{args.work.absolute()}/rendezvous",
        rank=rank, world_size=args.workers,
    )  # fmt: skip
    proteins, weights, human, other = load_data(args)
    stages = tuple((int(c), float(u)) for c, u in (s.split(":") for s in args.crops.split(",")))

    model = new_model(args.hidden, args.layers, args.heads, args.plain_start)
    model.esm.contact_head.requires_grad_(False)  # part of the class, not of the task
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizers = make_optimizers(model, args.lr)
    done = {"tokens": 0, "steps": 0}
    newest = args.work / "checkpoint.pt"
    if newest.exists():
        saved = torch.load(newest, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        done = saved["done"]
    say = (lambda *text: print(*text, flush=True)) if rank == 0 else (lambda *text: None)
    say(f"{model.num_parameters():,} parameters, {len(proteins):,} proteins, from {done}")

    batches = stream(proteins, weights, stages, args, rank, done)
    started, started_at, losses = time.time(), done["tokens"], []
    while done["tokens"] < args.tokens:
        gathered, quota = 0, args.batch_tokens // args.workers
        while gathered < quota:
            corrupted, positions, target = next(batches)
            loss = F.cross_entropy(masked_logits(model, corrupted, positions), target)
            (loss * corrupted.numel() / quota / args.workers).backward()
            losses.append(loss.item())
            gathered += corrupted.numel()
        flat = torch.cat([p.grad.reshape(-1) for p in parameters])
        dist.all_reduce(flat)
        for p, grad in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad.copy_(grad.view_as(p))
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        done["tokens"] += args.batch_tokens
        done["steps"] += 1
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.lr * rate(done["tokens"] / args.tokens)
            optimizer.step()
            optimizer.zero_grad()
        if done["steps"] % 40 == 0:
            speed = (done["tokens"] - started_at) / (time.time() - started)
            say(f"step {done['steps']} tokens {done['tokens'] / 1e6:.2f}M "
                f"loss {np.mean(losses):.4f} {speed:.0f} tokens/s")  # fmt: skip
            losses = []
        due = done["steps"] % args.save_every == 0 or done["tokens"] >= args.tokens
        if due and rank == 0:
            save(newest, model, optimizers, done)
            human_now, other_now = perplexity(model, human), perplexity(model, other)
            say(
                f"held-out perplexity at {done['tokens'] / 1e6:.2f}M tokens: "
                f"human {human_now:.2f}, others {other_now:.2f}"
            )
    dist.destroy_process_group()


def save(path, model, optimizers, done):
    """Write a checkpoint aside and rename it, so that a killed run leaves a whole one."""
    aside = path.with_suffix(".tmp")
    states = [optimizer.state_dict() for optimizer in optimizers]
    torch.save({"model": model.state_dict(), "optimizers": states, "done": done}, aside)
    aside.replace(path)


def simulated_relatives(seed, total=30000):
    """Return simulated members of the pocket families, none of which the edition ships.

    Every family has the same share, so that the rare ones of the edition are known as well; but
    insulin's, which page 04 asks about, has ten shares.
    """
    from dlfb.pocket.families import families, generator, grow

    every = families()
    relatives = []
    for family in every:
        n = total // len(every) * (10 if family.name == "insulin" else 1)
        relatives += grow(family, n, generator(9001 + seed, family.name))
    return sorted(set(relatives) - shipped_sequences())


def shipped_sequences():
    """Return the set of all sequences of the pocket proteome."""
    from dlfb.proteins.sequences import read_fasta
    from dlfb.utils.context import assets

    return {s for _, s in read_fasta(assets("proteins/datasets/train_sequences.fasta"))}


def export(args):
    """Write the newest checkpoint as fp16 safetensors with its tokenizer, for the package."""
    from transformers import EsmTokenizer

    saved = torch.load(args.work / "checkpoint.pt", weights_only=True)
    model = new_model(args.hidden, args.layers, args.heads)
    model.load_state_dict(saved["model"])
    args.export.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(args.export)
    # Rotary frequencies are computed, not learned; rounded to fp16 in the file they would be wrong.
    path = args.export / "model.safetensors"
    weights = {k: v for k, v in load_file(path).items() if "inv_freq" not in k}
    save_file(weights, path, metadata={"format": "pt"})
    (args.export / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    EsmTokenizer(str(args.export / "vocab.txt")).save_pretrained(args.export)
    (args.export / "training.json").write_text(json.dumps(saved["done"], indent=2) + "\n")


def check(args):
    """Compare `masked_logits` with the forward pass of transformers on random tokens."""
    model = new_model(args.hidden, args.layers, args.heads).eval()
    rng = np.random.default_rng(0)
    tokens = rng.integers(FIRST_RESIDUE, LAST_RESIDUE + 1, (3, 96)).astype(np.uint8)
    corrupted, positions = corrupt(tokens, rng)
    corrupted = torch.from_numpy(corrupted)
    with torch.no_grad():
        expected = model(corrupted, torch.ones_like(corrupted)).logits.reshape(-1, 33)[positions]
        ours = masked_logits(model, corrupted, torch.from_numpy(positions), torch.float32)
    print(f"largest difference from transformers: {(expected - ours).abs().max():.2e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--corpus", type=Path, default=Path("../shared/data/lm_corpus/corpus.fasta.gz")
    )
    parser.add_argument("--work", type=Path, required=True, help="clusters, checkpoints")
    parser.add_argument("--tokens", type=float, default=40e6, help="the whole budget, in tokens")
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--crops", default="128:0.5,256:0.9,512:1", help="crop:until-share,...")
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--micro-tokens", type=int, default=4096)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--simulated", type=float, default=0.0, help="share of simulated proteins")
    parser.add_argument("--by-cluster", type=float, default=0.5, help="weight 1 / size ** this")
    parser.add_argument("--plain-start", action="store_true", help="heads that look nowhere yet")
    parser.add_argument("--save-every", type=int, default=400, help="steps between checkpoints")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--export", type=Path, help="write the trained model here and stop")
    parser.add_argument("--check", action="store_true", help="compare with transformers and stop")
    args = parser.parse_args()
    if args.check or args.export:
        return check(args) if args.check else export(args)
    args.work.mkdir(parents=True, exist_ok=True)
    cluster(args.corpus, args.work)
    (args.work / "rendezvous").unlink(missing_ok=True)
    torch.multiprocessing.spawn(train, (args,), nprocs=args.workers)


if __name__ == "__main__":
    main()
