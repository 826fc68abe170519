"""The full edition's files: the command ``dlfb-provision``.

Whatever the source, the same layout comes out, ``proteins/datasets/...``, with a
manifest beside it that says where every file is from and what it must be.
Everything is fetched and built aside; the files already in place are replaced
only when all the new ones are whole.
"""

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from dlfb.provision import book, kaggle, uniprot
from dlfb.provision.files import HOSTS
from dlfb.provision.manifest import check, install, read_manifest
from dlfb.utils.context import provisioned_dir
from dlfb.utils.download import DownloadError

SOURCES = ("book", "uniprot", "kaggle")
OTHER_WAYS = {
    "book": "build the data from UniProt, GOA and GO with `--source uniprot`",
    "uniprot": "take the book's files with `--source book`, or files that you got elsewhere with "
    "`--sequences`, `--annotations` and `--ontology`",
}


def provision(
    source: str = "book",
    destination: str | os.PathLike | None = None,
    *,
    directory: str | os.PathLike | None = None,
    models: bool = True,
    hosts: dict[str, str] | None = None,
    **options,
) -> Path:
    """Get the full edition's files.

    Parameters
    ----------
    source : {"book", "uniprot", "kaggle"}
        The book's own files; built from UniProt, GOA and GO; CAFA files on disk.
    destination : path, optional
        Gets ``proteins/...``; default the folder where the full edition looks.
    directory : path, optional
        For ``kaggle``: the competition's files, or its zip.
    models : bool
        For ``book``: its trained models and embeddings too.
    hosts : dict, optional
        Mirrors in place of the usual hosts, by the names in ``HOSTS``.
    **options
        ``go_release`` (YYYY-MM-DD) for ``book`` and ``uniprot``; ``taxa``,
        ``sequences``, ``annotations``, ``ontology`` for ``uniprot``.

    Returns
    -------
    Path
        The manifest. A source's earlier files that it no longer has are kept
        in place; those of another source are moved to ``proteins/earlier-...``.

    Raises
    ------
    ValueError, FileNotFoundError, DownloadError
        With a sentence; the files that were there before are then unchanged.
    """
    if source not in SOURCES:
        raise ValueError(f"There is no source {source!r}; choose one of {', '.join(SOURCES)}.")
    unknown = sorted(set(hosts or {}) - set(HOSTS))
    if unknown:
        raise ValueError(f"There is no host {unknown[0]!r}; choose among {', '.join(HOSTS)}.")
    hosts = {name: url.rstrip("/") for name, url in {**HOSTS, **(hosts or {})}.items()}
    root = Path(destination).expanduser().absolute() if destination else provisioned_dir()
    staging = root / "proteins" / ".incoming" / source
    lock = staging.parent / "lock"
    try:
        staging.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            old = read_manifest(root)
            if source == "book":
                same = {e["path"]: e for e in old["files"] if old["source"] == "book"}
                made = book.build(staging, hosts, root=root, present=same, models=models, **options)
            elif source == "uniprot":
                made = uniprot.build(staging, hosts, **options)
            elif directory is None:
                raise ValueError("--source kaggle needs the folder with the competition's files.")
            else:
                made = kaggle.build(staging, Path(directory).expanduser(), **options)
            manifest = install(root, staging, source, made, old)
    except Timeout:
        raise ValueError(f"Another dlfb-provision is at work in {root}; wait for it.") from None
    except ValueError:
        # What was fetched is not what it should be: the next run must not take it for good.
        shutil.rmtree(staging / "raw", ignore_errors=True)
        raise
    except PermissionError as error:
        raise ValueError(f"{root} can't be written to: {error}. Choose another place.") from error
    with contextlib.suppress(OSError):  # what another source has begun may stay
        lock.unlink()
        staging.parent.rmdir()
    return manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``dlfb-provision``; return its exit status."""
    options = _parser().parse_args(arguments)
    root = Path(options.destination).expanduser().absolute()
    try:
        if options.check:
            problems = check(root)
            print("\n".join(problems) or f"All files in {root} agree with their manifest.")
            if problems:
                print("Run dlfb-provision again to get them anew.")
            return 1 if problems else 0
        hosts = dict(pair.split("=", 1) for pair in options.host if "=" in pair)
        if len(hosts) < len(options.host):
            raise ValueError("--host takes NAME=URL, such as book=https://mirror.example.org.")
        if options.base_url:
            hosts["book"] = options.base_url
        if options.directory and options.source != "kaggle":
            raise ValueError(f"{options.directory!r}: a folder is for --source kaggle only.")
        extra = {}
        if options.source in ("book", "uniprot"):
            extra["go_release"] = options.go_release
        if options.source == "uniprot":
            names = ("taxa", "sequences", "annotations", "ontology")
            extra.update({name: getattr(options, name) for name in names})
        manifest = provision(
            options.source, root, directory=options.directory, models=options.models,
            hosts=hosts, **extra,
        )  # fmt: skip
        _say_ready(root, manifest)
        for name in options.checkpoints:
            # transformers' hub client is slow to import: only where it is asked for.
            from dlfb.proteins.checkpoints import checkpoint_folder

            print(f"{name} is in {checkpoint_folder(name)}.")
        return 0
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        if isinstance(error, DownloadError) and options.source in OTHER_WAYS:
            message = (
                f"{message.rstrip('.')}; other ways: {OTHER_WAYS[options.source]}, import CAFA "
                "files with `--source kaggle DIR`, or stay with the pocket edition, which needs "
                "no network."
            )
        print(f"dlfb-provision: {message}", file=sys.stderr)
        return 1


def _say_ready(root: Path, manifest: Path) -> None:
    files = read_manifest(root)["files"]
    print(f"{len(files)} files, {sum(e['size'] for e in files) / 1e6:,.1f} MB; see {manifest}.")
    if root == provisioned_dir():
        print('To use them: set DLFB_EDITION=full, or begin with dlfb.use_edition("full").')
    else:
        print(f"To use them: set DLFB_ASSETS={root}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dlfb-provision", description="Get the full edition's files and check them."
    )
    add = parser.add_argument
    add("directory", nargs="?", help="for --source kaggle: the competition's folder or zip")
    add("--source", choices=SOURCES, default="book", help="default: %(default)s")
    add("--chapter", choices=["proteins"], default="proteins", help="the chapter of the book")
    add("--destination", default=str(provisioned_dir()), help="default: %(default)s")
    add("--models", action=argparse.BooleanOptionalAction, default=True,
        help="the book's trained models and embeddings too (default: yes)")  # fmt: skip
    add("--check", action="store_true", help="only compare the files with their manifest")
    add("--checkpoints", nargs="+", default=[], metavar="NAME",
        help="also fetch ESM2 from the hub, such as facebook/esm2_t6_8M_UR50D")  # fmt: skip
    add("--go-release", metavar="DATE", help="GO as of YYYY-MM-DD; default: today's")
    add = parser.add_argument_group("for --source uniprot").add_argument
    taxa = list(uniprot.TAXA)
    add("--taxa", nargs="+", type=int, default=taxa, metavar="TAXON",
        help="numbers of NCBI's taxonomy (default: human, mouse, yeast)")  # fmt: skip
    for name, what in (("sequences", "FASTA"), ("annotations", "GAF")):
        help_text = f"{what} files or addresses, in place of the usual ones"
        add(f"--{name}", nargs="+", default=[], metavar="PLACE", help=help_text)
    add("--ontology", metavar="PLACE", help="the same for go-basic.obo")
    add = parser.add_argument_group("mirrors").add_argument
    add("--base-url", metavar="URL", help="a mirror of the book's host")
    add("--host", action="append", default=[], metavar="NAME=URL",
        help=f"a mirror of one of {', '.join(HOSTS)}")  # fmt: skip
    return parser
