"""Reading and writing the files of a provision: tables, archives, the CAFA layout."""

import gzip
import io
import json
import stat
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

import networkx as nx
import pandas as pd

from dlfb.proteins.ontology import read_ontology
from dlfb.utils.display import progress
from dlfb.utils.download import Downloaded, Wanted, download, part_of, require_space, size_of

HOSTS = {
    "book": "https://assets.deep-learning-for-biology.com",
    "uniprot": "https://rest.uniprot.org",
    "uniprot-ftp": "https://ftp.uniprot.org",
    "goa": "https://ftp.ebi.ac.uk",
    "go": "https://current.geneontology.org",
    "go-archive": "https://release.geneontology.org",
    "purl": "https://purl.obolibrary.org",
}
DATASETS = "proteins/datasets"
GO_FILE = f"{DATASETS}/go-basic.obo"
#: An input that an interrupted run fetched is taken up again within this many seconds.
FRESH = 24 * 3600


def ontology_wanted(path: Path, hosts: dict[str, str], release: str | None = None) -> Wanted:
    """Return the addresses of go-basic.obo: the release of a date (YYYY-MM-DD) or today's."""
    if release:
        return Wanted(f"{hosts['go-archive']}/{release}/ontology/go-basic.obo", path)
    mirror = f"{hosts['purl']}/obo/go/go-basic.obo"
    return Wanted(f"{hosts['go']}/ontology/go-basic.obo", path, mirrors=(mirror,))


def download_many(
    files: Sequence[Wanted],
    desc: str = "Downloading",
    workers: int = 4,
    each: Callable[[Downloaded], None] = lambda done: None,
) -> list[Downloaded]:
    """Download files side by side, under one progress bar in bytes; see :func:`download`.

    The disk is checked first for what is known of the sizes. `each` is called
    with every file that is done. The first failure ends the others, which keep
    what they have; a later run goes on from there.
    """
    sizes = [wanted.size for wanted in files]
    begun = sum(size_of(part_of(wanted.path)) for wanted in files if wanted.size is not None)
    if files:
        require_space(files[0].path.parent, sum(size or 0 for size in sizes) - begun)
    stop, total = threading.Event(), None if None in sizes else sum(sizes)

    def one(wanted: Wanted) -> Downloaded:
        done = download(wanted, bar, stop)
        each(done)
        return done

    with ThreadPoolExecutor(workers) as pool, progress(total=total, desc=desc, unit="B") as bar:
        jobs = [pool.submit(one, wanted) for wanted in files]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def fetch_inputs(files: Sequence[Wanted]) -> list[Downloaded]:
    """Download raw files, except those that an interrupted run of the last day left complete."""
    done = {}
    for wanted in files:
        if wanted.path.is_file() and _note(wanted.path).is_file():
            path, url, *rest = json.loads(_note(wanted.path).read_text())
            fresh = time.time() - wanted.path.stat().st_mtime < FRESH
            if fresh and url in (wanted.url, *wanted.mirrors):
                done[wanted.path] = Downloaded(Path(path), url, *rest)
    missing = [wanted for wanted in files if wanted.path not in done]
    fetched = download_many(
        missing, each=lambda d: _note(d.path).write_text(json.dumps(d, default=str))
    )
    done.update((item.path, item) for item in fetched)
    return [done[wanted.path] for wanted in files]


@contextmanager
def reading(path: Path):
    """Explain damage that is met while reading a file."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, UnicodeError) as error:
        raise ValueError(f"{path} is damaged or cut short ({error}). Get it again.") from error


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.done.json")


@contextmanager
def open_text(path: Path):
    """Open a text file that may be gzipped or alone in a zip, whatever its name says."""
    with path.open("rb") as file:
        magic = file.read(4)
    with reading(path):
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as lines:
                yield lines
        elif magic == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                members = [m for m in archive.infolist() if not m.is_dir()]
                if len(members) != 1:
                    raise ValueError(f"{path} should hold one file, not {len(members)}.")
                with archive.open(members[0]) as raw:
                    yield io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
        else:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                yield lines


def copy_text(source: Path, target: Path) -> None:
    """Copy a text file, unpacked if it was compressed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_text(source) as lines, target.open("w", encoding="utf-8", newline="") as copy:
        while block := lines.read(1 << 20):
            copy.write(block)


def place_ontology(source: Path, target: Path) -> nx.MultiDiGraph:
    """Copy go-basic.obo, unpacked if it was compressed, and return the ontology in it.

    Raises
    ------
    ValueError
        If it is not the Gene Ontology.
    """
    copy_text(source, target)
    try:
        graph = read_ontology(target)
    # obonet raises whatever its parsing meets.
    except Exception as error:
        raise ValueError(f"{source} is not go-basic.obo, or is damaged: {error}") from error
    if not graph:
        raise ValueError(f"{source} holds no term: it is not go-basic.obo.")
    return graph


def unpack(archive: Path, folder: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Unpack a zip into a folder, and nowhere else.

    Parameters
    ----------
    archive, folder : Path
        The folder is made if need be.
    names : iterable of str, optional
        Only members with these names, in whatever folder of the archive.

    Raises
    ------
    ValueError
        If a member's path leaves the folder or is a link, or the archive is
        damaged or encrypted. Paths are judged before anything is written.
    DownloadError
        If the disk is too full for what the archive says it holds.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if not m.is_dir()]
            for member in members:
                parts = PurePosixPath(member.filename.replace("\\", "/"))
                drive = PureWindowsPath(member.filename).drive
                if parts.is_absolute() or drive or ".." in parts.parts:
                    raise ValueError(
                        f"{archive}: the member {member.filename!r} would be written outside the "
                        "folder. Nothing was unpacked; don't trust this archive."
                    )
                if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
                    kind = "encrypted" if member.flag_bits & 1 else "a link"
                    raise ValueError(f"{archive}: the member {member.filename!r} is {kind}.")
            wanted = None if names is None else set(names)
            members = [m for m in members if wanted is None or Path(m.filename).name in wanted]
            folder.mkdir(parents=True, exist_ok=True)
            require_space(folder, sum(member.file_size for member in members))
            return [Path(opened.extract(member, folder)) for member in members]
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ValueError(f"{archive} is no archive that can be read ({error}).") from error


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as TSV alone in a zip; the same table gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # No clock and no umask in the archive: ZipInfo's own date is 1980 and the mode is set.
    member = zipfile.ZipInfo(path.name.removesuffix(".zip"))
    member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    with (
        zipfile.ZipFile(path, "w") as archive,
        archive.open(member, "w", force_zip64=False) as raw,
        io.TextIOWrapper(raw, encoding="utf-8", newline="") as text,
    ):
        table.to_csv(text, sep="\t", index=False, lineterminator="\n")


def write_cafa(
    staging: Path, terms: pd.DataFrame, sequences: dict[str, str], taxonomy: pd.DataFrame
) -> list[str]:
    """Write the three CAFA files, sequences by id, say how much they hold, and return their names.

    Parameters
    ----------
    staging : Path
        They go into its ``proteins/datasets``.
    terms, taxonomy : DataFrame
        Columns EntryID, term, aspect; columns EntryID, taxonomyID.
    sequences : dict
        EntryID to sequence.
    """
    folder = staging / DATASETS
    folder.mkdir(parents=True, exist_ok=True)
    write_table(terms, folder / "train_terms.tsv.zip")
    write_table(taxonomy, folder / "train_taxonomy.tsv.zip")
    with (folder / "train_sequences.fasta").open("w", encoding="ascii", newline="") as fasta:
        fasta.writelines(f">{entry}\n{sequences[entry]}\n" for entry in sorted(sequences))
    print(
        f"{len(terms):,} rows of terms for {terms['EntryID'].nunique():,} proteins; "
        f"{len(sequences):,} sequences; {taxonomy['taxonomyID'].nunique():,} taxa."
    )
    files = ("train_terms.tsv.zip", "train_sequences.fasta", "train_taxonomy.tsv.zip")
    return [f"{DATASETS}/{name}" for name in files]
