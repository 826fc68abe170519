"""The book's own files for the full edition: ``dlfb-provision --chapter proteins``.

The book's host lists its files in ``urls.txt``, one line "size path" per file. They are downloaded
to a folder of their own, and moved to their places when all of them are whole.
"""

import argparse
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pooch

from dlfb.utils.command import finish
from dlfb.utils.context import CAFA, provisioned_dir

BOOK = "https://assets.deep-learning-for-biology.com"
GO = "https://purl.obolibrary.org/obo/go/go-basic.obo"


def provision(
    chapter="proteins", destination: str | os.PathLike | None = None, host=BOOK, ontology=GO
) -> Path:
    """Download the data sets of a chapter from the book's host, and the Gene Ontology.

    `host` is the book's or a mirror of it; `ontology` is the address of go-basic.obo if the host
    does not list it. The files go to ``proteins/datasets/...`` in `destination`, by default where
    the full edition looks. One of the announced size stays; of another, it becomes
    ``NAME.earlier``. After an OSError or a ValueError, what was there before is unchanged.
    """
    root = Path(destination or provisioned_dir()).expanduser().absolute()
    aside = root / chapter / ".incoming"
    (aside / "urls.txt").unlink(missing_ok=True)  # always today's
    fetcher = pooch.create(path=aside, base_url="", registry={}, retry_if_failed=3)
    listing = _fetch(fetcher, f"{host}/urls.txt", "urls.txt", None)
    wanted = read_listing(listing.read_text("utf-8", "replace"), chapter)
    urls = {name: f"{host}/{quote(name)}" for name in wanted}
    own = f"{chapter}/datasets/go-basic.obo"
    if own not in wanted:
        wanted[own], urls[own] = None, ontology
    if lacking := [name for name in CAFA if f"{chapter}/datasets/{name}" not in wanted]:
        raise ValueError(f"{host}/urls.txt does not list {lacking[0]}, which the pages need.")
    new = [name for name, size in wanted.items() if not _is_there(root / name, size)]
    for name in new:
        if not _is_there(aside / name, wanted[name]):  # from a run that was cut off
            (aside / name).unlink(missing_ok=True)
            _fetch(fetcher, urls[name], name, wanted[name])
    for name in new:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).exists():
            (root / name).replace(root / f"{name}.earlier")
        (aside / name).replace(root / name)
    shutil.rmtree(aside)
    return root


def read_listing(text: str, chapter: str) -> dict[str, int | None]:
    """Return a chapter's data sets in a ``urls.txt`` as {path: size}; ValueError for a bad line."""
    files = {}
    for number, line in enumerate(text.splitlines(), start=1):
        size, _, name = line.strip().partition(" ")
        parts = PurePosixPath(name.strip()).parts
        sane = size.isdigit() and parts and not {"..", "/"} & set(parts) | set(":\\") & set(name)
        if line.strip() and not sane:
            fault = f"expected 'size {chapter}/datasets/...', found {line.strip()[:80]!r}"
            raise ValueError(f"urls.txt, line {number}: {fault}. Is the host the book's?")
        if len(parts) > 2 and parts[:2] == (chapter, "datasets"):
            files["/".join(parts)] = int(size)
    return files


def _is_there(path: Path, size: int | None) -> bool:
    return path.is_file() and size in (None, path.stat().st_size)


def _fetch(fetcher: pooch.Pooch, url: str, name: str, size: int | None) -> Path:
    fetcher.registry[name], fetcher.urls[name] = None, url
    try:
        return Path(fetcher.fetch(name, downloader=partial(_download, size=size)))
    except (OSError, ValueError) as error:  # the errors of requests are OSErrors
        way_out = "Check the network, name a mirror with --base-url, or use the pocket edition"
        raise OSError(f"{url} can't be downloaded: {error}. {way_out}.") from error


def _download(url: str, file: str, fetcher: pooch.Pooch, size: int | None) -> None:
    """Download and check; after a ValueError pooch deletes the file and tries again."""
    bar = os.environ.get("DLFB_PROGRESS") != "0"
    pooch.HTTPDownloader(progressbar=bar, timeout=(10, 60), chunk_size=1 << 16)(url, file, fetcher)
    with open(file, "rb") as arrived:
        if arrived.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise OSError("a web page came instead, so the file has moved or needs a log-in")
    if size not in (None, arrived := os.path.getsize(file)):
        raise ValueError(f"{arrived:,} bytes arrived where {size:,} were announced")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``dlfb-provision``; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="dlfb-provision", description="Download the book's files."
    )
    parser.add_argument("--chapter", choices=["proteins"], default="proteins")
    parser.add_argument("--destination", default=provisioned_dir(), help="default: %(default)s")
    parser.add_argument("--base-url", default=BOOK, help="the book's host, or a mirror of it")
    parser.add_argument("--ontology", default=GO, help="the address of go-basic.obo")
    options = parser.parse_args(arguments)

    def work() -> None:
        root = provision(options.chapter, options.destination, options.base_url, options.ontology)
        setting = "EDITION=full" if root == provisioned_dir() else f"ASSETS={root}"
        print(f"The files are in {root}. To use them, set DLFB_{setting}.")

    return finish("dlfb-provision", work, "Stopped. Run the command again to continue.")
