"""The command dlfb-provision with a host on loopback: what comes, and what a failure leaves."""

import pytest

from dlfb.provision import main, provision, read_listing
from dlfb.utils.context import assets, provisioned_dir
from tests.loopback import Loopback

GO = b"format-version: 1.2\n\n[Term]\nid: GO:0003674\nname: molecular_function\n"
FILES = {
    "proteins/datasets/train_terms.tsv.zip": b"PK terms" * 40,
    "proteins/datasets/train_sequences.fasta": b">A\nMALWM\n",
    "proteins/datasets/train_taxonomy.tsv.zip": b"PK taxonomy",
    "proteins/datasets/with space.bin": b"weights" * 9,
}
OTHERS = {"proteins/models/mlp/_METADATA": b"{}", "dna/datasets/genome.fa": b">chr1\nACGT\n"}
EXPECTED = FILES | {"proteins/datasets/go-basic.obo": GO}
TERMS = "/proteins/datasets/train_terms.tsv.zip"


def publish(server, files):
    server.files = {"/" + name.replace(" ", "%20"): data for name, data in files.items()}
    lines = [f"{len(data)} {name}" for name, data in (files | OTHERS).items()]
    server.files |= {"/urls.txt": "\n".join(lines).encode(), "/go.obo": GO}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with Loopback() as server:
        publish(server, FILES)
        yield server


def run(server, root, *more):
    hosts = ["--base-url", server.url, "--ontology", f"{server.url}/go.obo"]
    return main(["--chapter", "proteins", "--destination", str(root), *hosts, *more])


def content(root):
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_the_chapter_s_data_sets_come_once(server, tmp_path, capsys):
    assert run(server, tmp_path) == 0
    assert content(tmp_path) == EXPECTED
    assert f"DLFB_ASSETS={tmp_path}" in capsys.readouterr().out
    server.requests.clear()
    assert run(server, tmp_path) == 0
    assert [path for _, path, _ in server.requests] == ["/urls.txt"]
    terms = tmp_path / TERMS[1:]
    terms.write_bytes(terms.read_bytes()[:5])
    assert run(server, tmp_path) == 0
    assert terms.read_bytes() == FILES[TERMS[1:]]


def test_by_default_the_full_edition_finds_them(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DLFB_CACHE", str(tmp_path))
    monkeypatch.setenv("DLFB_EDITION", "full")
    root = provision(host=server.url, ontology=f"{server.url}/go.obo")
    assert root == provisioned_dir() and content(root) == EXPECTED
    found = assets("proteins/datasets/train_terms.tsv.zip")
    assert found == str(root / "proteins/datasets/train_terms.tsv.zip")


@pytest.mark.parametrize("fault", [{"status": 503}, {"cut": 3}, {"announce": 7}])
def test_temporary_failures_are_retried(server, tmp_path, fault):
    server.faults[TERMS] = [fault]
    server.faults["/urls.txt"] = [{"status": 503}]
    assert run(server, tmp_path) == 0
    assert content(tmp_path) == EXPECTED


@pytest.mark.parametrize("path", [TERMS, "/urls.txt", "/go.obo"])
@pytest.mark.parametrize("fault", [
    {"status": 404}, {"cut": 3}, {"html": "text/html"}, {"html": "text/plain"},
])  # fmt: skip
def test_a_lasting_failure_is_reported_and_changes_nothing(server, tmp_path, capsys, path, fault):
    assert run(server, tmp_path) == 0
    newer = {name: data + b"\n! newer" for name, data in FILES.items()}
    publish(server, newer)
    (tmp_path / "proteins/datasets/go-basic.obo").unlink()
    server.faults[path] = [{**fault, "forever": True}]
    assert run(server, tmp_path) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"dlfb-provision: {server.url}{path} can't be downloaded: ")
    assert "--base-url" in told and "pocket" in told
    assert ("web page" in told) == ("html" in fault)
    there = content(tmp_path / "proteins/datasets")
    assert there == {n.split("/")[-1]: data for n, data in FILES.items()}
    # What was fetched before the failure is not fetched again, and what it replaces is kept.
    aside = tmp_path / "proteins/.incoming/proteins/datasets"
    arrived = [f"/proteins/datasets/{p.name}" for p in aside.glob("*")]
    server.faults.clear()
    server.requests.clear()
    assert run(server, tmp_path) == 0
    assert not set(arrived) & {path for _, path, _ in server.requests}
    earlier = {f"{name}.earlier": data for name, data in FILES.items()}
    assert content(tmp_path) == newer | earlier | {"proteins/datasets/go-basic.obo": GO}


def test_another_size_or_a_place_that_can_t_be_written_is_a_sentence(server, tmp_path, capsys):
    server.files["/urls.txt"] = server.files["/urls.txt"].replace(b"320 ", b"321 ")
    assert run(server, tmp_path) == 1
    assert "320 bytes arrived where 321 were announced" in capsys.readouterr().err
    assert list(tmp_path.rglob("*terms*")) == []
    (tmp_path / "file").touch()
    assert run(server, tmp_path / "file") == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize("line", [
    "many proteins/datasets/a", "5", "5 ../../etc/passwd", "5 /etc/passwd", "5 proteins/../../a",
    r"5 proteins\datasets\a", "5 C:/proteins/datasets/a", "<html>", "-5 proteins/datasets/a",
])  # fmt: skip
def test_a_bad_line_of_the_listing_is_refused_with_its_number(line):
    with pytest.raises(ValueError, match="urls.txt, line 3"):
        read_listing(f"3 proteins/datasets/fine\n\n{line}\n", "proteins")


def test_a_listing_that_lacks_what_pages_need_is_refused(server, tmp_path, capsys):
    publish(server, {name: data for name, data in FILES.items() if "taxonomy" not in name})
    assert run(server, tmp_path) == 1
    assert "does not list train_taxonomy.tsv.zip" in capsys.readouterr().err
    assert not (tmp_path / "proteins/datasets").exists()
