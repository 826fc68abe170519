"""A download is whole or absent, and says why: against a server that misbehaves."""

import base64
import hashlib
import os
import shutil
import socket
import threading
from collections import namedtuple

import pytest

from dlfb.utils import download as module
from dlfb.utils.download import DownloadError, Wanted, download
from tests.loopback import Loopback

BODY = bytes(range(97, 123))


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", 0.0)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Loopback() as server:
        server.files["/a"] = BODY
        yield server


def get(server, tmp_path, **known):
    return download(Wanted(f"{server.url}/a", tmp_path / "a", **known))


def leftovers(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.name != "a")


def test_a_file_arrives_whole_and_alone(server, tmp_path):
    done = get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == BODY and leftovers(tmp_path) == []
    assert done.sha256 == hashlib.sha256(BODY).hexdigest() and done.size == len(BODY)
    # The GO site refuses urllib's name, and one should say who one is.
    assert server.asked("/a")[0]["User-Agent"].startswith("dlfb/")


@pytest.mark.parametrize("cut", range(len(BODY)))
def test_a_download_cut_at_any_byte_goes_on_from_there(server, tmp_path, cut):
    server.faults["/a"] = [{"cut": cut}]
    get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == BODY and leftovers(tmp_path) == []
    assert server.asked("/a")[1].get("Range") == (f"bytes={cut}-" if cut else None)


@pytest.mark.parametrize("lacking", ["ranges", "tags"])
def test_without_ranges_or_tags_it_begins_anew(server, tmp_path, lacking):
    setattr(server, lacking, "")
    server.faults["/a"] = [{"cut": 20}]
    get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == BODY
    assert ("Range" in server.asked("/a")[1]) == (lacking == "ranges")


def test_a_file_that_changes_meanwhile_is_not_mixed(server, tmp_path):
    server.faults["/a"] = [{"cut": 20}, {"cut": 0, "forever": True}]
    with pytest.raises(DownloadError, match="did not give a whole"):
        get(server, tmp_path)
    assert (tmp_path / "a.part").read_bytes() == BODY[:20] and not (tmp_path / "a").exists()
    server.files["/a"], server.faults["/a"] = BODY[::-1], []
    get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == BODY[::-1] and leftovers(tmp_path) == []


def test_a_later_run_goes_on(server, tmp_path):
    server.faults["/a"] = [{"cut": 20}, {"cut": 0, "forever": True}]
    with pytest.raises(DownloadError):
        get(server, tmp_path)
    server.requests.clear()
    server.faults["/a"] = []
    get(server, tmp_path)
    assert [r.get("Range") for r in server.asked("/a")] == ["bytes=20-"]
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_a_run_killed_just_before_the_end_goes_on(server, tmp_path, size):
    server.faults["/a"] = [{"cut": 20}, {"cut": 0, "forever": True}]
    with pytest.raises(DownloadError):
        get(server, tmp_path)
    (tmp_path / "a.part").write_bytes(BODY)
    server.faults["/a"] = []
    get(server, tmp_path, size=size)
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again(server, tmp_path, status):
    server.faults["/a"] = [{"status": status}] * (module.ATTEMPTS - 1)
    get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_refusals_are_told_at_once_and_nothing_is_lost(server, tmp_path, status):
    (tmp_path / "a").write_text("from before")
    server.faults["/a"] = [{"status": status, "forever": True}]
    with pytest.raises(DownloadError, match=rf"^127\.0\.0\.1:\d+ .*/a \({status}\)\.$"):
        get(server, tmp_path)
    assert len(server.requests) == 1
    assert (tmp_path / "a").read_text() == "from before" and leftovers(tmp_path) == []


def test_waits_double_and_heed_the_host(server, tmp_path, monkeypatch):
    waits = []

    class Clock(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return False

    monkeypatch.setattr(module, "BACKOFF", 1.0)
    long = {"status": 503, "headers": {"Retry-After": "99999"}}
    server.faults["/a"] = [
        {"status": 429, "headers": {"Retry-After": "7"}}, {"status": 503}, {"status": 503}, long,
    ]  # fmt: skip
    download(Wanted(f"{server.url}/a", tmp_path / "a"), stop=Clock())
    assert waits == [7, 2, 4, module.LONGEST_WAIT]


def test_progress_resets_the_count_of_attempts(server, tmp_path):
    server.faults["/a"] = [{"cut": 1}, {"status": 503}] * module.ATTEMPTS
    get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_host_that_stalls_is_asked_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", (1.0, 0.15))
    server.faults["/a"] = [{"stall": 0.5}]
    get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_false_length_is_noticed(server, tmp_path):
    server.ranges = False
    server.faults["/a"] = [{"announce": len(BODY) + 5, "forever": True}]
    with pytest.raises(DownloadError, match="did not give a whole"):
        get(server, tmp_path)
    server.faults["/a"] = []
    with pytest.raises(DownloadError, match="26 bytes where 27 were announced"):
        get(server, tmp_path, size=27)
    assert not (tmp_path / "a").exists()


def test_a_wrong_checksum_is_tried_once_more(server, tmp_path):
    (tmp_path / "a").write_text("from before")
    with pytest.raises(DownloadError, match="checksum is wrong"):
        get(server, tmp_path, sha256="0" * 64)
    assert len(server.requests) == 2 and (tmp_path / "a").read_text() == "from before"
    get(server, tmp_path, sha256=hashlib.sha256(BODY).hexdigest())
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("name", ["x-goog-hash", "Repr-Digest"])
def test_a_checksum_published_by_the_host_is_heeded(server, tmp_path, name):
    def told(content):
        md5, sha256 = (base64.b64encode(h(content).digest()).decode()
                       for h in (hashlib.md5, hashlib.sha256))  # fmt: skip
        return {"x-goog-hash": f"crc32c=AAAA==, md5={md5}", "Repr-Digest": f"sha-256=:{sha256}:"}

    server.headers["/a"] = {name: told(b"other")[name]}
    with pytest.raises(DownloadError, match="checksum is wrong"):
        get(server, tmp_path)
    server.headers["/a"] = {name: told(BODY)[name]}
    get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_not_data(server, tmp_path, kind):
    server.faults["/a"] = [{"html": kind, "forever": True}]
    with pytest.raises(DownloadError, match="web page"):
        get(server, tmp_path)
    assert not (tmp_path / "a").exists()


def test_redirects_are_followed_but_not_in_circles(server, tmp_path):
    server.files["/b"] = b"moved"
    server.faults["/a"] = [{"redirect": "/b"}]
    get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == b"moved"
    server.faults["/a"] = [{"redirect": "/a", "forever": True}]
    with pytest.raises(DownloadError, match="leads nowhere"):
        get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == b"moved"


def test_a_host_out_of_reach_is_named_soon(server, tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DownloadError, match=f"^{address} can't be reached"):
            download(Wanted(f"http://{address}/a", tmp_path / "a"))


def test_a_mirror_steps_in(server, tmp_path):
    wanted = Wanted(f"{server.url}/gone", tmp_path / "a", mirrors=(f"{server.url}/a",))
    assert download(wanted).url == f"{server.url}/a"
    with pytest.raises(DownloadError, match="gone.*worse"):
        download(wanted._replace(mirrors=(f"{server.url}/worse",)))


def test_a_mirror_s_file_is_not_joined_to_another_s_beginning(server, tmp_path):
    server.tags = "date"  # the same for both
    server.files["/b"] = BODY[::-1]
    server.faults["/a"] = [{"cut": 20}, {"status": 404}]
    download(Wanted(f"{server.url}/a", tmp_path / "a", mirrors=(f"{server.url}/b",)))
    assert (tmp_path / "a").read_bytes() == BODY[::-1]


def test_a_date_serves_as_tag(server, tmp_path):
    server.tags, server.faults["/a"] = "date", [{"cut": 20}]
    get(server, tmp_path)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.asked("/a")[1]["If-Range"].endswith("GMT")


def test_the_disk_is_asked_first(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, module.SPARE + 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match="GB free"):
        get(server, tmp_path)
    assert not (tmp_path / "a").exists() and not (tmp_path / "a.part").exists()


def test_proxies_are_honoured(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    download(Wanted("http://host.invalid/a", tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == BODY


def test_two_at_once_don_t_write_into_each_other(server, tmp_path):
    server.faults["/a"] = [{"stall": 0.1, "forever": True}]
    threads = [threading.Thread(target=get, args=(server, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() == BODY and leftovers(tmp_path) == []
    assert server.most_at_once == 1


def test_a_full_disk_is_told(server, tmp_path, monkeypatch):
    def fsync(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DownloadError, match="is full"):
        get(server, tmp_path)
