"""Vectors of any number of proteins, in one process or on a cluster: the command ``dlfb-embed``.

It writes Parquet files, the *parts*, that ``pandas.read_parquet`` and others read as one table: a
row per protein with its id, the SHA-256 of its sequence, its length and its vector. A part is named
by the SHA-256 of its content, so damage is noticed; its metadata tell the model and the options.
"""

import argparse
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
from pyarrow import dataset, parquet

from dlfb.proteins.embeddings import CHOICES, checked_options, mean_states
from dlfb.proteins.encoder import encoder_of
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import read_fasta
from dlfb.utils import store
from dlfb.utils.checks import check_count
from dlfb.utils.command import finish
from dlfb.utils.context import expanded
from dlfb.utils.display import progress
from dlfb.utils.fingerprint import fingerprint

CHECKPOINT = "facebook/esm2_t30_150M_UR50D"
ENGINES = ("process", "ray")
PART = 2000  # proteins
_ROW = pa.schema({"id": pa.string(), "sequence_hash": pa.binary(32), "length": pa.int32()})
_WORK = _ROW.append(pa.field("sequence", pa.string()))
_HASH = itemgetter(1)  # of a record: its id, the hash of its sequence, its length, its sequence
_STORE = 512 << 20  # bytes of Ray's shared memory on this machine; what is more goes to its disk


class Embedder:
    """A language model that turns tables of sequences into tables of vectors."""

    def __init__(self, checkpoint: str, device: str | None, options: dict, made=None):
        tokenizer, model = load_language_model(checkpoint)
        self.encoder, self.device = encoder_of(tokenizer, model), device
        self.options, self.advance = options, lambda residues: None
        self.made = {"model": model.dlfb_checkpoint, "fingerprint": fingerprint(self.encoder)}
        self.made |= {name: options[name] for name in CHOICES}
        if made not in (None, self.made):
            raise ValueError(f"The {checkpoint} of a worker is another model than the one here.")

    def __call__(self, work: pa.Table) -> pa.Table:
        """Return a table with vectors for one with sequences."""
        sequences = work["sequence"].to_pylist()
        vectors = mean_states(sequences, self.encoder, self.device, self.advance, **self.options)
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        return work.select(_ROW.names).append_column("vector", column)


def embed_fasta(
    fasta: str | os.PathLike,
    out: str | os.PathLike,
    checkpoint: str = CHECKPOINT,
    engine: str = "process",
    *,
    part_size: int = PART,
    device: str | None = None,
    workers: int | None = None,
    cpus: int = 1,
    address: str | None = None,
    **options,
) -> Path:
    """Embed the proteins of a FASTA file into a folder of Parquet parts; return the folder.

    The whole file is checked before anything is computed. It is a stream: memory holds a part per
    worker and a few hashes per protein. Rows of earlier files stay in the folder, and a sequence
    that is in a part is not computed again, whatever its id.

    Parameters
    ----------
    engine : {"process", "ray"}
        Compute here, or with workers of Ray Data, https://docs.ray.io/en/latest/data/data.html.
    part_size : int
        The most proteins in a part, which is what a worker computes at a time.
    workers, cpus : int
        Of Ray: how many workers (default: one per GPU, without one as many as the CPU cores allow),
        and the CPU cores of each.
    address : str, optional
        Of Ray: the cluster's, such as ``"auto"``. Default: this machine.
    device, **options
        As for :func:`dlfb.proteins.embeddings.get_mean_embeddings`.

    Raises
    ------
    ValueError
        If a record, an option or the model can't be used; if the folder has vectors of another
        model or of other options; if Ray is missing or fails.
    """
    if engine not in ENGINES:
        raise ValueError(f"There is no engine={engine!r}; choose one of {', '.join(ENGINES)}.")
    counts = {"part_size": part_size, "workers": 1 if workers is None else workers, "cpus": cpus}
    for name, count in counts.items():
        check_count(count, name, "embed_fasta()")
    ask = (checkpoint, device, checked_options(**options))
    embedder, out = Embedder(*ask), expanded(out).absolute()

    def records() -> Iterator[tuple[str, bytes, int, str]]:
        for name, sequence in read_fasta(fasta):
            yield name, hashlib.sha256(sequence.encode()).digest(), len(sequence), sequence

    with store.locked(out / "parts"):
        known, done = _kept(out, embedder.made)
        lengths = [length for _, _, length, _ in _unseen(records(), set(known), _HASH)]
        print(f"New sequences: {len(lengths):,} ({sum(lengths):,} residues)", flush=True)
        with progress(total=sum(lengths), desc="Embedding", unit=" residues") as bar:
            work = _tables(_unseen(records(), known, _HASH), part_size)
            if engine == "ray" and lengths:
                parts = _on_ray(work, (*ask, embedder.made), bar, workers, cpus, address)
            else:
                embedder.advance = bar.update
                parts = map(embedder, work)
            for part in parts:
                _write(out, part, embedder.made)
                done.update(map(_key, _rows(part)))
        # Left are proteins whose sequence has a vector, but under another id.
        for work in _tables(_unseen(records(), done, _key), part_size):
            _write(out, _copied(out, work), embedder.made)
    return out


def _key(record: Sequence) -> bytes:
    return hashlib.sha256(record[0].encode() + record[1]).digest()


def _rows(part: pa.Table) -> Iterator[tuple[str, bytes]]:
    return zip(part["id"].to_pylist(), part["sequence_hash"].to_pylist(), strict=True)


def _unseen(records: Iterable, seen: set[bytes], key: Callable) -> Iterator[tuple]:
    """Yield records with a key that was not seen before, and add their keys."""
    for record in records:
        if (found := key(record)) not in seen:
            seen.add(found)
            yield record


def _tables(records: Iterator, size: int) -> Iterator[pa.Table]:
    while rows := list(islice(records, size)):
        columns = zip(*rows, strict=True)
        yield pa.table(dict(zip(_WORK.names, map(list, columns), strict=True)), _WORK)


def _on_ray(work, ask: tuple, bar, workers, cpus: int, address) -> Iterator[pa.Table]:
    """Yield the parts in the order in which workers of Ray Data finish them."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    os.environ.update(quiet | os.environ)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError("The engine 'ray' needs Ray: pip install 'dlfb[scale]'.") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    here = {"num_cpus": workers and workers * cpus, "object_store_memory": _STORE}
    settings = {name: value for name, value in os.environ.items() if name.startswith("DLFB_")}
    settings["OMP_NUM_THREADS"] = str(cpus)
    try:
        ray.init(
            address=address or "local", include_dashboard=False, log_to_driver=False,
            logging_level="ERROR", runtime_env={"env_vars": settings}, **({} if address else here),
        )  # fmt: skip
    except Exception as error:  # of many kinds, one of them Exception
        raise ValueError(f"Ray can't be started or reached: {error}") from error
    try:
        resources = ray.cluster_resources()
        gpus = 0 if ask[1] == "cpu" else int(resources.get("GPU", 0))
        workers = workers or gpus or max(1, int(resources["CPU"]) // cpus)
        blocks = ray.data.from_arrow_refs([ray.put(table) for table in work])
        parts = blocks.map_batches(
            Embedder, fn_constructor_args=ask, batch_size=None, batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=cpus, num_gpus=int(gpus > 0),
        )  # fmt: skip
        for part in parts.iter_batches(batch_size=None, batch_format="pyarrow"):
            bar.update(sum(part["length"].to_pylist()))
            yield part
    except ray.exceptions.RayError as error:
        fault = re.search(r"^\w+Error: (.+)", str(error), re.MULTILINE)  # the first is the cause
        raise ValueError(f"A worker of Ray failed: {fault[1] if fault else error}") from error
    finally:
        ray.shutdown()


def _kept(out: Path, made: dict) -> tuple[set[bytes], set[bytes]]:
    """Check the parts; return the hashes of sequences with a vector, and the keys of proteins."""
    known, done = set(), set()
    for file in sorted(out.glob("part-*.parquet")):
        content = file.read_bytes()
        if file.name != _name(content):
            aside = file.replace(file.with_name(f"_damaged_{file.name}"))
            print(f"{file} is damaged. It was set aside as {aside.name}; what it had is computed.")
            continue
        part = parquet.read_table(pa.BufferReader(content), columns=_ROW.names)
        theirs = json.loads(part.schema.metadata[b"dlfb"])
        if differs := [name for name in made if made[name] != theirs.get(name)]:
            raise ValueError(
                f"{out} has vectors of another {differs[0]}: {theirs.get(differs[0])}, and not "
                f"{made[differs[0]]}. Use another folder, or the same model and options."
            )
        known.update(part["sequence_hash"].to_pylist())
        done.update(map(_key, _rows(part)))
    return known, done


def _copied(out: Path, work: pa.Table) -> pa.Table:
    """Return rows for proteins whose sequences have vectors in the parts."""
    hashes = work["sequence_hash"].combine_chunks()
    parts = dataset.dataset([str(file) for file in out.glob("part-*.parquet")])
    found = parts.to_table(filter=dataset.field("sequence_hash").isin(hashes))
    row_of = {digest: row for row, digest in enumerate(found["sequence_hash"].to_pylist())}
    vectors = found["vector"].take(pa.array([row_of[digest] for digest in hashes.to_pylist()]))
    return work.select(_ROW.names).append_column("vector", vectors)


def _write(out: Path, part: pa.Table, made: dict) -> None:
    """Write a part aside, then give it its name, so that it is complete or not there."""
    sink = pa.BufferOutputStream()
    part = part.replace_schema_metadata({"dlfb": json.dumps(made)})
    parquet.write_table(part, sink, compression="none", use_dictionary=False)
    content, aside = sink.getvalue().to_pybytes(), out / ".part.tmp"
    with open(aside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(out / _name(content))


def _name(content: bytes) -> str:
    return f"part-{hashlib.sha256(content).hexdigest()[:16]}.parquet"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``dlfb-embed``; return its exit status."""
    parser = argparse.ArgumentParser(prog="dlfb-embed", description="One vector per protein.")
    parser.add_argument("fasta", help="the proteins, also compressed")
    parser.add_argument("--out", required=True, help="the folder for the vectors")
    parser.add_argument("--checkpoint", default=CHECKPOINT, help="default: %(default)s")
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    parser.add_argument("--part-size", type=int, default=PART, help="default: %(default)s")
    parser.add_argument("--device", help="such as cpu or cuda; default: the fastest")
    for name, choices in CHOICES.items():
        parser.add_argument(f"--{name}", choices=choices, default=choices[0])
    ray = parser.add_argument_group("with --engine ray")
    ray.add_argument("--workers", type=int, help="default: what the GPUs or CPU cores allow")
    ray.add_argument("--cpus", type=int, default=1, help="CPU cores per worker")
    ray.add_argument("--address", help="of a cluster, such as auto; default: this machine")
    options = vars(parser.parse_args(arguments))
    again = "Stopped. The same command continues from here."
    return finish("dlfb-embed", lambda: embed_fasta(**options), again)
