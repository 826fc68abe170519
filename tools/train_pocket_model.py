"""Train the small protein language model on Swiss-Prot: one command, seeded, resumable.

    python tools/train_pocket_model.py --work DIR --tokens 100e6
    python tools/train_pocket_model.py --work DIR --export dlfb/pocket/model

Runs on Debian 12 with ``ncbi-blast+`` and ``mmseqs2``, and fetches two packages. DIR keeps every
step, so the same command goes on where it was cut off. Training itself reads only ``tokens.npz``
and ``checkpoint.pt`` there, which can be taken along to a GPU. The shipped model is from there:

    python tools/train_pocket_model.py --work DIR --device cuda --batch-tokens 131072 \\
        --micro-tokens 131072 --by-cluster 0.4 --lr 4e-3 --tokens 20e9 --minutes 7.25

Architecture (``EsmForMaskedLM``) and task are those of ESM2 (Lin et al., Science 2023): 15 % of the
residues are to be recovered, of which 80 % are masked, 10 % replaced by a random residue and 10 %
left alone. What is not ESM2's is how a small budget is spent:

* crops are cut to a multiple of 32 tokens, and a batch holds crops of one length: no padding;
* proteins are drawn by cluster (weight 1 / size ** ``--by-cluster``): large families do not rule;
* Muon (Jordan et al. 2024) for the hidden matrices, AdamW for the rest; warm-up, plateau, decay.

Held out are whole clusters, and all that a sensitive search finds to be related to them is kept out
of training: a relative there would make a model look better than it is.
"""

import argparse
import collections
import json
import math
import random
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from build_human_data import PACKAGES, human_accessions, read_sequences, unpacked
from safetensors.torch import load_file, save_file
from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-"]
VOCABULARY += ["<null_1>", "<mask>"]
CLS, EOS, MASK = 0, 2, 32
FIRST_RESIDUE, LAST_RESIDUE = 4, 23  # L .. C, the twenty standard amino acids
MASKED_SHARE = 0.15
SOURCES = "metastudent-data", "r-bioc-org.hs.eg.db"
TRAIN, HUMAN, OTHER = 0, 1, 2  # to train on; held-out human proteins; held-out others


def make_corpus(packages, corpus):
    """Write the distinct sequences of 30 residues or more as ``>accession OX=taxon``.

    The taxon is 9606 for accessions of human genes (of several for one sequence, one of these
    names it) and 0 for all others.
    """
    swiss_prot, genes = (unpacked(name, packages) / PACKAGES[name] for name in SOURCES)
    proteins, human = read_sequences(swiss_prot), human_accessions(genes)
    name_of = {}
    for name, sequence in sorted(proteins.items()):
        if name_of.setdefault(sequence, name) not in human and name in human:
            name_of[sequence] = name
    with corpus.open("w") as out:
        for sequence, name in name_of.items():
            if len(sequence) >= 30:
                out.write(f">{name} OX={9606 if name in human else 0}\n{sequence}\n")


def read_corpus(path):
    """Return {id: sequence} and the set of human ids, in the order of the file."""
    lines = path.read_text().splitlines()
    heads = [line[1:].partition(" OX=") for line in lines[::2]]
    sequences = dict(zip((name for name, _, _ in heads), lines[1::2], strict=True))
    return sequences, {name for name, _, taxon in heads if taxon == "9606"}


def mmseqs(result, command, *inputs, options):
    """Run MMseqs2 (the Debian package ``mmseqs2``) unless `result` is there; return its rows."""
    if not result.exists():
        scratch = result.parent / "tmp"
        scratch.mkdir(exist_ok=True)
        output = scratch / result.name.removesuffix("_cluster.tsv")
        whole = ["mmseqs", command, *inputs, output, scratch, "-v", "2", *options.split()]
        subprocess.run(whole, check=True)
        (scratch / result.name).replace(result)
    return [line.split("\t") for line in result.read_text().splitlines()]


def cluster(corpus, work):
    """Return {id: representative} at 30 % identity over 60 % of both, in seconds for Swiss-Prot."""
    options = "--min-seq-id 0.3 -c 0.6 --cov-mode 0"
    pairs = mmseqs(work / "clusters_cluster.tsv", "easy-linclust", corpus, options=options)
    return {member: representative for representative, member in pairs}


def hold_out(corpus, work, wanted=400, most_relatives=100, seed=7):
    """Return (ids held out to measure with, ids kept out of training), both kept in `work`.

    Linear clustering is quick and leaves relatives apart. So clusters are drawn at random until
    there are `wanted` human proteins and as many clusters without one; their members are searched
    for in the whole corpus with the most sensitive setting, and clusters with at most
    `most_relatives` are kept: to leave out all of a large family would cost too much. Insulin's
    cluster is never held out, because a page asks the model about insulin.
    """
    files = work / "held_out.txt", work / "excluded.txt"
    if all(file.exists() for file in files):
        return tuple(file.read_text().split() for file in files)
    (sequences, human), representative = read_corpus(corpus), cluster(corpus, work)
    members, relatives = collections.defaultdict(list), collections.defaultdict(set)
    for member, name in representative.items():
        members[name].append(member)
    names, found = sorted(members), {True: 0, False: 0}
    random.Random(seed).shuffle(names)
    for name in names:
        of_human = len(human.intersection(members[name]))
        if "P01308" not in members[name] and found[of_human > 0] < wanted:
            relatives[name].update(members[name])
            found[of_human > 0] += of_human or 1
    query = work / "held.fasta"
    drawn = sorted(set().union(*relatives.values()))
    query.write_text("".join(f">{member}\n{sequences[member]}\n" for member in drawn))
    options = "-s 7.5 -e 1e-3 --max-seqs 5000"
    hits = mmseqs(work / "hits.m8", "easy-search", query, corpus, options=options)
    for member, relative, *_ in hits:
        relatives[representative[member]].add(relative)
    kept = [name for name, every in relatives.items() if len(every) <= most_relatives]
    held_out = sorted(member for name in kept for member in members[name])
    excluded = sorted(set().union(*(relatives[name] for name in kept)))
    for file, lines in zip(files, (held_out, excluded), strict=True):
        file.write_text("\n".join(lines))
    return held_out, excluded


def tokenize(sequence):
    """Return a protein's token ids with <cls> and <eos>, as uint8."""
    lookup = np.full(128, 3, np.uint8)
    for token, letter in enumerate(VOCABULARY):
        if len(letter) == 1:
            lookup[ord(letter)] = token
    residues = lookup[np.frombuffer(sequence.encode(), np.uint8)]
    return np.concatenate(([CLS], residues, [EOS])).astype(np.uint8)


def pack(args):
    """Write all that training reads to ``tokens.npz``, which needs no other file beside it.

    Of the training proteins at most ``args.residues``, drawn without replacement by weight.
    """
    corpus = args.work / "corpus.fasta"
    if not corpus.exists():
        make_corpus(args.packages or args.work / "packages", corpus)
    sequences, human = read_corpus(corpus)
    held_out, excluded = map(set, hold_out(corpus, args.work))
    representative = cluster(corpus, args.work)
    size = collections.Counter(representative.values())
    sizes = np.array([size[representative[name]] for name in sequences])
    lengths = np.array([len(s) + 2 for s in sequences.values()])
    group = np.array(
        [(HUMAN if n in human else OTHER) if n in held_out else TRAIN for n in sequences], np.uint8
    )
    train = np.flatnonzero([name not in excluded for name in sequences])
    draw = np.random.default_rng(args.seed).exponential(size=len(train))
    order = train[np.argsort(draw / weigh(lengths[train], sizes[train], args.by_cluster))]
    order = order[np.cumsum(lengths[order]) <= args.residues]
    used = np.sort(np.concatenate((np.flatnonzero(group != TRAIN), order)))
    tokens = [tokenize(s) for s in sequences.values()]
    np.savez_compressed(
        args.work / "aside.npz", tokens=np.concatenate([tokens[i] for i in used]),
        lengths=lengths[used], sizes=sizes[used], group=group[used],
    )  # fmt: skip
    (args.work / "aside.npz").replace(args.work / "tokens.npz")


def weigh(lengths, sizes, by_cluster):
    """Return weights: a long protein offers more crops, a large cluster less news per member."""
    return np.minimum(lengths, 512) / sizes**by_cluster


def load_data(work, by_cluster=0.7):
    """Return (tokenized proteins, chance of each to be drawn, their groups)."""
    with np.load(work / "tokens.npz") as data:
        tokens, lengths, sizes, group = (data[n] for n in ("tokens", "lengths", "sizes", "group"))
    weights = np.where(group == TRAIN, weigh(lengths, sizes, by_cluster), 0.0)
    return np.split(tokens, np.cumsum(lengths)[:-1]), weights / weights.sum(), group


def micro_batches(proteins, weights, crop, micro_tokens, rng):
    """Return a shuffled list of (rows, length) arrays: crops of equal length, no padding."""
    by_length = {}
    for index in rng.choice(len(proteins), size=max(4096, micro_tokens // 8), p=weights):
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


def new_model(hidden, layers, heads):
    """Return an untrained EsmForMaskedLM of ESM2's architecture."""
    config = EsmConfig(
        vocab_size=33, mask_token_id=MASK, pad_token_id=1, hidden_size=hidden,
        num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden,
        position_embedding_type="rotary", token_dropout=True, emb_layer_norm_before=False,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=1026,
        layer_norm_eps=1e-5, initializer_range=0.02, architectures=["EsmForMaskedLM"],
    )  # fmt: skip
    model = EsmForMaskedLM(config)
    model.esm.contact_head.requires_grad_(False)  # part of the class, not of the task
    return model


def masked_logits(model, tokens, positions):
    """Return float32 logits (P, 33) at flat `positions` of `tokens` (B, L), no padding in them."""
    with torch.autocast(tokens.device.type, torch.bfloat16):
        states = model.esm(tokens).last_hidden_state
    return model.lm_head(states.flatten(0, 1)[positions].float())


def make_optimizers(model, lr):
    """Return [Muon over the blocks' matrices, AdamW over embeddings, biases and norms]."""
    hidden, rest = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            in_block = parameter.ndim == 2 and "encoder.layer" in name
            (hidden if in_block else rest).append(parameter)
    muon = dict(momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    adam = dict(betas=(0.9, 0.98), weight_decay=0.0)
    return [torch.optim.Muon(hidden, lr=lr, **muon), torch.optim.AdamW(rest, lr=lr, **adam)]


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
            target = tokens[positions].astype(np.int64)
            inputs = (torch.from_numpy(x).to(model.device) for x in (corrupted, positions, target))
            tokens, positions, target = inputs
            logits = masked_logits(model, tokens, positions)
            total += F.cross_entropy(logits, target, reduction="sum").item()
            count += len(positions)
    return math.exp(total / count)


def stream(proteins, weights, args, rank, done):
    """Yield (corrupted, positions, target) without end, on the device."""
    while True:
        rng = np.random.default_rng((args.seed, rank, done["steps"]))
        for batch in micro_batches(proteins, weights, args.crop, args.micro_tokens, rng):
            corrupted, positions = corrupt(batch, rng)
            if len(positions):
                target = batch.reshape(-1)[positions].astype(np.int64)
                arrays = map(torch.from_numpy, (corrupted, positions, target))
                if args.device != "cpu":  # copies from pinned memory don't wait for the GPU
                    arrays = (array.pin_memory() for array in arrays)
                yield tuple(array.to(args.device, non_blocking=True) for array in arrays)


def train(rank, args):
    """Train from the newest checkpoint in ``args.work``, or from scratch, to ``args.tokens``.

    On a CPU one process with one thread for each core: the small products of a small model lose
    more to threads waiting for each other than the exchange of gradients costs. On a GPU one.
    """
    torch.manual_seed(args.seed)
    if args.device == "cpu":
        torch.set_num_threads(1)
    if args.workers > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{args.work.absolute()}/rendezvous",
            rank=rank, world_size=args.workers,
        )  # fmt: skip
    proteins, weights, group = load_data(args.work, args.by_cluster)
    human, other = ([proteins[i] for i in np.flatnonzero(group == n)[:150]] for n in (HUMAN, OTHER))
    model = new_model(args.hidden, args.layers, args.heads).to(args.device)
    if args.device == "cpu":  # torch's fused attention for CPUs is slower at these sizes
        model.set_attn_implementation("eager")
    optimizers = make_optimizers(model, args.lr)
    parameters = [p for o in optimizers for group in o.param_groups for p in group["params"]]
    done = {"tokens": 0, "steps": 0}
    newest = args.work / "checkpoint.pt"
    if newest.exists():
        saved = torch.load(newest, weights_only=True, map_location=args.device)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        done = saved["done"]
    say = (lambda *text: print(*text, flush=True)) if rank == 0 else (lambda *text: None)
    say(f"{model.num_parameters():,} parameters, {len(proteins):,} proteins, from {done}")

    batches = stream(proteins, weights, args, rank, done)
    started, started_at, losses = time.time(), done["tokens"], []
    share = done["tokens"] / args.tokens  # of the budget in tokens or time, whichever is more
    while share < 1:
        gathered, quota = 0, args.batch_tokens // args.workers
        while gathered < quota:
            corrupted, positions, target = next(batches)
            loss = F.cross_entropy(masked_logits(model, corrupted, positions), target)
            (loss * corrupted.numel() / quota / args.workers).backward()
            losses.append(loss.detach())
            gathered += corrupted.numel()
        for p in parameters if args.workers > 1 else ():
            dist.all_reduce(p.grad)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        done["tokens"] += args.batch_tokens
        done["steps"] += 1
        share = max(done["tokens"] / args.tokens, (time.time() - started) / 60 / args.minutes)
        for optimizer in optimizers:
            for options in optimizer.param_groups:
                options["lr"] = args.lr * rate(share)
            optimizer.step()
            optimizer.zero_grad()
        million = f"{done['tokens'] / 1e6:.2f}M tokens"
        if done["steps"] % 40 == 0:
            speed = (done["tokens"] - started_at) / (time.time() - started)
            mean = torch.stack(losses).mean().item()
            say(f"step {done['steps']}, {million}: loss {mean:.4f}, {speed:.0f} tokens/s")
            losses = []
        due = done["steps"] % args.save_every == 0 or share >= 1
        if due and rank == 0:
            save(newest, model, optimizers, done)
            of_human, of_other = perplexity(model, human), perplexity(model, other)
            say(f"held-out perplexity at {million}: human {of_human:.2f}, others {of_other:.2f}")
    if args.workers > 1:
        dist.destroy_process_group()


def save(path, model, optimizers, done):
    """Write a checkpoint aside and rename it, so that a killed run leaves a whole one."""
    aside = path.with_suffix(".tmp")
    states = [optimizer.state_dict() for optimizer in optimizers]
    torch.save({"model": model.state_dict(), "optimizers": states, "done": done}, aside)
    aside.replace(path)


def export(args):
    """Write the newest checkpoint as fp16 safetensors with its tokenizer, for the package."""
    saved = torch.load(args.work / "checkpoint.pt", weights_only=True)
    model = new_model(args.hidden, args.layers, args.heads)
    model.load_state_dict(saved["model"])
    args.export.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(args.export)
    config = args.export / "config.json"  # what from_pretrained makes of them by default
    config.write_text(config.read_text().replace('"float16"', '"float32"'))
    # Rotary frequencies are computed, not learned; rounded to fp16 in the file they would be wrong.
    path = args.export / "model.safetensors"
    weights = {k: v for k, v in load_file(path).items() if "inv_freq" not in k}
    save_file(weights, path, metadata={"format": "pt"})
    (args.export / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    EsmTokenizer(str(args.export / "vocab.txt")).save_pretrained(args.export)
    (args.export / "training.json").write_text(json.dumps(saved["done"], indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--work", type=Path, required=True, help="where everything is kept")
    option("--packages", type=Path, help="folder of Debian packages, default DIR/packages")
    option("--residues", type=float, default=math.inf, help="at most so many into tokens.npz")
    option("--tokens", type=float, default=100e6, help="the whole budget, earlier runs included")
    option("--minutes", type=float, default=math.inf, help="of this run, at most; on one process")
    option("--hidden", type=int, default=192)
    option("--layers", type=int, default=6)
    option("--heads", type=int, default=3)
    option("--crop", type=int, default=512, help="tokens of a protein read at a time")
    option("--batch-tokens", type=int, default=8192)
    option("--micro-tokens", type=int, default=4096, help="tokens computed at a time")
    option("--lr", type=float, default=2e-3)
    option("--by-cluster", type=float, default=0.7, help="weight 1 / size ** this")
    option("--save-every", type=int, default=400, help="steps between checkpoints")
    option("--workers", type=int, default=2, help="processes of one thread each; one on a GPU")
    option("--device", default="cpu", help="cpu or cuda")
    option("--seed", type=int, default=42)
    option("--export", type=Path, help="write the trained model here and stop")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.export:
        return export(args)
    if not (args.work / "tokens.npz").exists():
        pack(args)
    if args.device != "cpu":
        args.workers = 1
        return train(0, args)
    (args.work / "rendezvous").unlink(missing_ok=True)
    torch.multiprocessing.spawn(train, (args,), nprocs=args.workers)


if __name__ == "__main__":
    main()
