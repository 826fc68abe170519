"""Downloading files so that what has the final name is always whole.

A download goes into ``NAME.part``, is taken up again by a range request after a
cut (in this run or the next), and is renamed once its size and checksum agree.
Proxies are honoured as `requests` does (``HTTPS_PROXY``, ``NO_PROXY``).
"""

import base64
import errno
import hashlib
import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from filelock import FileLock

import dlfb
from dlfb.utils.store import replacing

USER_AGENT = f"dlfb/{dlfb.__version__} python-requests/{requests.__version__}"
ATTEMPTS = 5  # in a row without a byte won
BACKOFF = 1.0  # seconds before the second attempt, doubled each time
LONGEST_WAIT = 120.0  # seconds, also where a host asks for more
TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two bytes
SPARE = 64 << 20  # bytes of disk left free
PASSING = {408, 425, 429, 500, 502, 503, 504}


class DownloadError(OSError):
    """A file that could not be had; the message is a sentence for the reader."""


class NotThereError(DownloadError, FileNotFoundError):
    """The host answers, and has no such file."""


class Wanted(NamedTuple):
    """A file to download: its address, its place, what is known of it, other addresses."""

    url: str
    path: Path
    size: int | None = None
    sha256: str | None = None
    mirrors: Sequence[str] = ()


class Downloaded(NamedTuple):
    """A file that arrived whole; `headers` are the answer's, with names in lower case."""

    path: Path
    url: str
    size: int
    sha256: str
    headers: Mapping[str, str]


class _Again(Exception):
    """A passing failure: the seconds that the host asks to wait, and how many attempts it costs."""

    def __init__(self, why: str, wait: float = 0.0, cost: int = 1):
        super().__init__(why)
        self.wait, self.cost = wait, cost


def download(wanted: Wanted, bar=None, stop: threading.Event | None = None) -> Downloaded:
    """Download one file, from the first of its addresses that has it.

    Parameters
    ----------
    wanted : Wanted
        What to fetch and where to put it. An existing file is replaced.
    bar : tqdm.tqdm, optional
        Updated with the bytes that arrive.
    stop : threading.Event, optional
        Once set, the download ends soon, keeping what it has for the next run.

    Raises
    ------
    DownloadError
        If no address gives the whole file; what had its name before is then still there.
        A `NotThereError` if all of them answer that there is none.
    """
    path, stop, failures = Path(wanted.path), stop or threading.Event(), []
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        with FileLock(lock):  # two processes must not write into one .part
            for url in (wanted.url, *wanted.mirrors):
                try:
                    return _from_one(wanted._replace(url=url, path=path), bar, stop)
                except DownloadError as error:
                    failures.append(error)
    finally:
        lock.unlink(missing_ok=True)
    absent = all(isinstance(error, NotThereError) for error in failures)
    raise (NotThereError if absent else DownloadError)(" ".join(map(str, failures)))


def require_space(folder: Path, wanted: int) -> None:
    """Raise `DownloadError` unless `wanted` bytes and some to spare fit on the folder's disk."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if wanted + SPARE > free:
        raise DownloadError(
            f"The disk of {folder} has {free / 1e9:.1f} GB free, but {wanted / 1e9:.1f} GB are to "
            "come. Make room there, or choose another place."
        )


def keep(content: bytes, path: Path) -> None:
    """Write a file whole or not at all; where that can't be, warn and go on without a copy."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        warnings.warn(f"{path} can't be kept ({error}), so it is fetched anew.", stacklevel=3)


def part_of(path: Path, suffix: str = "") -> Path:
    """Return where a file lies until it is whole."""
    return path.with_name(f"{path.name}.part{suffix}")


def size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Return a file's checksum as lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _from_one(wanted: Wanted, bar, stop: threading.Event) -> Downloaded:
    host, part = urlsplit(wanted.url).netloc, part_of(wanted.path)
    shown, failed, answered = 0, 0, False

    def advance(position: int) -> None:
        nonlocal shown
        if bar is not None:
            bar.update(position - shown)
        shown = position

    with requests.Session() as session:
        session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        while True:
            before, wait, cost = size_of(part), 0.0, 1
            try:
                return _accept(wanted, part, _fetch(session, wanted, part, advance, stop))
            except _Again as again:
                why, wait, cost, answered = str(again), again.wait, again.cost, True
            except (requests.TooManyRedirects, ValueError) as error:  # an address that is none
                raise DownloadError(f"{wanted.url} leads nowhere ({error}).") from error
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                why = type(error).__name__
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise DownloadError(f"The disk of {part.parent} is full: make room.") from error
            failed = 1 if size_of(part) > before else failed + cost
            answered = answered or size_of(part) > before
            # A host that never answers is given up early: the reader is probably offline.
            if failed >= (ATTEMPTS if answered else min(2, ATTEMPTS)):
                what = f"did not give {wanted.path.name} whole" if answered else "can't be reached"
                raise DownloadError(f"{host} {what} ({why}).")
            if stop.wait(min(max(wait, BACKOFF * 2 ** (failed - 1)), LONGEST_WAIT)):
                raise DownloadError(f"{wanted.path.name}: stopped with the others.")


def _fetch(
    session, wanted: Wanted, part: Path, advance: Callable[[int], None], stop: threading.Event
) -> Mapping[str, str]:
    """Append to the partial file what it lacks, and return the answer's headers."""
    have, tag_file = size_of(part), part_of(wanted.path, ".tag")
    if have and have == wanted.size:
        advance(have)
        return {}
    # Without the tag of the file begun with, the rest might belong to another one.
    url, _, tag = tag_file.read_text().partition("\n") if tag_file.is_file() else ("", "", "")
    known = have and tag and url == wanted.url
    headers = {"Range": f"bytes={have}-", "If-Range": tag} if known else {}
    with session.get(wanted.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        begin, total = _extent(answer)
        if answer.status_code == 416 and total == have:
            return answer.headers
        if answer.status_code == 416 or begin not in (0, have):
            part.unlink(missing_ok=True)
            raise _Again("the file changed at its source")
        _refuse_unwanted(answer, wanted, total)
        require_space(part.parent, (total or 0) - begin)
        etag = answer.headers.get("ETag", "")
        tag = answer.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
        tag_file.write_text(f"{wanted.url}\n{tag}")
        with part.open("ab" if begin else "wb") as file:
            for chunk in answer.raw.stream(1 << 16, decode_content=False):
                if file.tell() == 0 and re.match(rb"\s*<(!doctype html|html)", chunk, re.I):
                    raise DownloadError(_WEB_PAGE.format(wanted.url))
                file.write(chunk)
                advance(file.tell())
                if stop.is_set():
                    raise DownloadError(f"{wanted.path.name}: stopped with the others.")
            file.flush()
            os.fsync(file.fileno())
    if total is not None and size_of(part) < total:
        raise _Again(f"cut after {size_of(part):,} of {total:,} bytes")
    return answer.headers


_WEB_PAGE = (
    "{} answers with a web page where the file should be: it has moved, or a login page of your "
    "network stands in between. Open the address in a browser to see which."
)


def _extent(answer) -> tuple[int, int | None]:
    """Return where the answer's bytes begin in the file, and the file's size if it is told."""
    told = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if answer.status_code in (206, 416) and told:
        return int(told[1] or 0), None if told[2] == "*" else int(told[2])
    length = answer.headers.get("Content-Length", "")
    return (0, int(length)) if answer.status_code == 200 and length.isdigit() else (0, None)


def _refuse_unwanted(answer, wanted: Wanted, total: int | None) -> None:
    status, host = answer.status_code, urlsplit(answer.url).netloc
    if status in PASSING:
        wait = answer.headers.get("Retry-After", "")
        raise _Again(f"it answers {status} {answer.reason}", float(wait) if wait.isdigit() else 0.0)
    if status not in (200, 206):
        what = {401: "refuses", 403: "refuses", 404: "has no", 410: "has no longer"}
        kind = NotThereError if status in (404, 410) else DownloadError
        raise kind(f"{host} {what.get(status, 'does not give')} {wanted.url} ({status}).")
    if "text/html" in answer.headers.get("Content-Type", ""):
        raise DownloadError(_WEB_PAGE.format(wanted.url))
    if wanted.size is not None and total not in (None, wanted.size):
        raise DownloadError(
            f"{wanted.url} has {total:,} bytes where {wanted.size:,} were announced: it is not the "
            "file that its source describes. Try again later, or another source."
        )


def _accept(wanted: Wanted, part: Path, headers: Mapping[str, str]) -> Downloaded:
    """Give the partial file its final name if it is what was wanted."""
    size, sha256 = size_of(part), digest_of(part)
    wrong = wanted.size not in (None, size) or wanted.sha256 not in (None, sha256)
    # What Google's and other object stores publish beside a file.
    for md5 in re.findall(r"md5=([\w+/]+=*)", headers.get("x-goog-hash", "")):
        wrong |= base64.b64decode(md5).hex() != digest_of(part, "md5")
    for told in re.findall(r"sha-256=:([\w+/]+=*):", headers.get("Repr-Digest", "")):
        wrong |= base64.b64decode(told).hex() != sha256
    tag = part_of(wanted.path, ".tag")
    if wrong:
        part.unlink()
        raise _Again("its size or checksum is wrong", cost=ATTEMPTS - 1)  # one more try, not five
    os.replace(part, wanted.path)
    tag.unlink(missing_ok=True)
    plain = {name.lower(): value for name, value in headers.items()}
    return Downloaded(wanted.path, wanted.url, size, sha256, plain)
