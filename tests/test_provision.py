"""The command: the book's source, the manifest, the check, and what a failure leaves."""

import json
import stat
import zipfile

import pytest

from dlfb.provision import files, main
from dlfb.provision.book import read_listing
from dlfb.provision.files import unpack, write_table
from dlfb.utils import download
from dlfb.utils.context import assets, provisioned_dir
from dlfb.utils.download import DownloadError
from tests.loopback import Loopback

GO = """format-version: 1.2
data-version: releases/2030-01-01
ontology: go

[Term]
id: GO:0003674
name: molecular_function
namespace: molecular_function

[Term]
id: GO:0005488
name: binding
namespace: molecular_function
alt_id: GO:0005554
is_a: GO:0003674 ! molecular_function

[Term]
id: GO:0008150
name: biological_process
namespace: biological_process

[Term]
id: GO:0000004
name: obsolete thing
namespace: biological_process
is_obsolete: true
"""
FILES = {
    "proteins/datasets/train_terms.tsv.zip": b"PK terms" * 40,
    "proteins/datasets/train_sequences.fasta": b">A\nMALWM\n",
    "proteins/datasets/train_taxonomy.tsv.zip": b"PK taxonomy",
    "proteins/datasets/go-basic.obo": GO.encode(),
    "proteins/models/mlp/checkpoint file.bin": b"weights" * 9,
    "dna/datasets/genome.fa": b">chr1\nACGT\n",
}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    with Loopback() as server:
        publish(server, FILES)
        yield server


def publish(server, content):
    server.files = {"/" + name.replace(" ", "%20"): data for name, data in content.items()}
    lines = [f"{len(data)} {name}" for name, data in content.items()]
    server.files["/urls.txt"] = "\n".join(lines).encode()


def run(server, root, *more):
    hosts = [x for name in ("go", "purl") for x in ("--host", f"{name}={server.url}/{name}")]
    return main(["--destination", str(root), "--base-url", server.url, *hosts, *more])


def content(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "MANIFEST.json"
    }


PROTEINS = {name: data for name, data in FILES.items() if name.startswith("proteins/")}


def test_the_book_s_files_come_with_a_manifest(server, tmp_path, capsys):
    assert run(server, tmp_path, "--chapter", "proteins") == 0
    assert content(tmp_path) == PROTEINS
    assert f"set DLFB_ASSETS={tmp_path}" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "proteins/MANIFEST.json").read_text())
    assert manifest["source"] == "book" and manifest["versions"]["go"] == "releases/2030-01-01"
    assert manifest["made"][:2] == "20" and manifest["licences"]
    assert {e["path"]: e["size"] for e in manifest["files"]} == {
        name: len(data) for name, data in PROTEINS.items()
    }
    assert all(e["from"].startswith(server.url) for e in manifest["files"])
    assert run(server, tmp_path, "--check") == 0


def test_without_models(server, tmp_path):
    assert run(server, tmp_path, "--no-models") == 0
    assert not (tmp_path / "proteins/models").exists()
    server.requests.clear()
    assert run(server, tmp_path) == 0
    assert content(tmp_path) == PROTEINS
    # What is there and whole is not fetched again.
    assert sorted(path for _, path, _ in server.requests) == [
        "/proteins/models/mlp/checkpoint%20file.bin", "/urls.txt",
    ]  # fmt: skip
    assert run(server, tmp_path, "--no-models") == 0
    assert content(tmp_path) == PROTEINS and run(server, tmp_path, "--check") == 0


def test_by_default_the_full_edition_finds_them(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DLFB_CACHE", str(tmp_path))
    monkeypatch.setenv("DLFB_EDITION", "full")
    assert main(["--base-url", server.url]) == 0
    assert "DLFB_EDITION=full" in capsys.readouterr().out
    place = assets("proteins/datasets/train_sequences.fasta")
    assert place.startswith(str(provisioned_dir()))


def test_check_tells_what_is_wrong_and_a_new_run_repairs_it(server, tmp_path, capsys):
    assert run(server, tmp_path, "--check") == 1
    assert "nothing was provisioned" in capsys.readouterr().out
    run(server, tmp_path)
    datasets = tmp_path / "proteins/datasets"
    (datasets / "go-basic.obo").unlink()
    (datasets / "train_sequences.fasta").write_text(">A\nMALWW\n")
    (datasets / "train_terms.tsv.zip").write_text("short")
    assert run(server, tmp_path, "--check") == 1
    told = capsys.readouterr().out
    for what in ("go-basic.obo is missing", "fasta has changed", "has 5 bytes instead of 320"):
        assert what in told
    assert run(server, tmp_path) == 0
    assert content(tmp_path) == PROTEINS


@pytest.mark.parametrize("fault", [
    {"status": 403}, {"status": 404}, {"status": 429}, {"status": 503}, {"cut": 3},
    {"announce": 7}, {"html": "text/html"}, {"html": "text/plain"}, {"redirect": "/nowhere"},
])  # fmt: skip
def test_a_failure_leaves_what_was_there_and_is_told(server, tmp_path, capsys, fault):
    run(server, tmp_path)
    newer = {name: data + b"\n! newer" for name, data in FILES.items()}
    publish(server, newer)
    server.ranges = False
    late = {"wait": 0.1, "forever": True}  # when the others are done
    server.faults["/proteins/datasets/go-basic.obo"] = [{**fault, **late}]
    assert run(server, tmp_path) == 1
    told = capsys.readouterr().err
    assert told.startswith("dlfb-provision: ") and told.count("\n") == 1
    assert server.url.removeprefix("http://") in told
    assert "--source uniprot" in told and "pocket" in told
    assert run(server, tmp_path, "--check") == 0
    assert {n: d for n, d in content(tmp_path).items() if ".incoming" not in n} == PROTEINS
    # The next run takes up what this one had fetched.
    staged = tmp_path / "proteins/.incoming/book"
    done = [name for name, data in newer.items() if (staged / name).is_file()]
    server.faults.clear()
    server.requests.clear()
    assert run(server, tmp_path) == 0
    assert not {"/" + name for name in done} & {path for _, path, _ in server.requests}
    assert content(tmp_path) == {n: d for n, d in newer.items() if n in PROTEINS}


def test_no_network_is_one_sentence_with_the_other_ways(tmp_path, capsys):
    with Loopback() as gone:
        pass
    assert main(["--destination", str(tmp_path), "--base-url", gone.url]) == 1
    told = capsys.readouterr().err
    assert "can't be reached" in told and gone.url[7:] in told and "--source kaggle DIR" in told
    assert told.count("\n") == 1 and ". " not in told.replace("127.0.0.1", "")


@pytest.mark.parametrize("line", [
    "many proteins/datasets/a", "5", "5 ../../etc/passwd", "5 /etc/passwd", "5 proteins/../../a",
    r"5 proteins\datasets\a", "5 C:/proteins/datasets/a", "<html>", "-5 proteins/datasets/a",
])  # fmt: skip
def test_a_listing_that_is_none_is_refused_with_its_line(tmp_path, line):
    listing = tmp_path / "urls.txt"
    listing.write_text(f"3 proteins/datasets/fine\n\n{line}\n")
    with pytest.raises(ValueError, match="urls.txt, line 3"):
        read_listing(listing, "proteins", True)


def test_a_listing_without_the_chapter(tmp_path):
    (tmp_path / "urls.txt").write_text("3 dna/datasets/a\n3 proteins/other/a\n")
    with pytest.raises(ValueError, match="no file of the chapter"):
        read_listing(tmp_path / "urls.txt", "proteins", True)


def test_go_comes_from_its_own_host_where_the_book_has_none(server, tmp_path):
    publish(server, {n: d for n, d in FILES.items() if not n.endswith("obo")})
    server.files["/purl/obo/go/go-basic.obo"] = GO.encode()  # the mirror: /go/... is not there
    assert run(server, tmp_path) == 0
    assert content(tmp_path) == PROTEINS
    [entry] = [e for e in json.loads((tmp_path / "proteins/MANIFEST.json").read_text())["files"]
               if e["path"].endswith("obo")]  # fmt: skip
    assert entry["from"] == f"{server.url}/purl/obo/go/go-basic.obo"


def test_files_of_others_are_set_aside(server, tmp_path, capsys):
    own = tmp_path / "proteins/datasets/train_sequences.fasta"
    own.parent.mkdir(parents=True)
    own.write_text("my own")
    assert run(server, tmp_path) == 0
    assert (tmp_path / "proteins/earlier-other" / own.relative_to(tmp_path)).read_text() == "my own"
    # Another source's data must not meet models made from the book's.
    manifest = tmp_path / "proteins/MANIFEST.json"
    manifest.write_text(manifest.read_text().replace('"source": "book"', '"source": "uniprot"'))
    run(server, tmp_path, "--no-models")
    assert not (tmp_path / "proteins/models/mlp/checkpoint file.bin").exists()
    assert (tmp_path / "proteins/earlier-uniprot/proteins/models/mlp/checkpoint file.bin").exists()
    assert "are now in" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "told"), [
    (["--host", "book"], "NAME=URL"),
    (["--host", "moon=http://x"], "no host 'moon'"),
    (["somewhere"], "for --source kaggle only"),
    (["--source", "kaggle"], "needs the folder"),
    (["--source", "kaggle", "/nowhere/at/all"], "no folder /nowhere/at/all"),
])  # fmt: skip
def test_what_can_t_be_asked_for(tmp_path, capsys, arguments, told):
    assert main([*arguments, "--destination", str(tmp_path)]) == 1
    assert told in capsys.readouterr().err


def test_a_damaged_manifest_is_named(server, tmp_path, capsys):
    run(server, tmp_path)
    (tmp_path / "proteins/MANIFEST.json").write_text('{"source": "book"')
    assert run(server, tmp_path, "--check") == 1
    assert "MANIFEST.json is damaged" in capsys.readouterr().err


def test_two_provisions_don_t_mix(server, tmp_path, capsys):
    from filelock import FileLock

    (tmp_path / "proteins/.incoming").mkdir(parents=True)
    with FileLock(tmp_path / "proteins/.incoming/lock"):
        assert run(server, tmp_path) == 1
    assert "Another dlfb-provision" in capsys.readouterr().err


# Archives.


def archive_with(path, name, mode=0o644):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fine.txt", "fine")
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, "contents")


@pytest.mark.parametrize("name", [
    "../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "C:\\out.txt", "C:out.txt",
])  # fmt: skip
def test_an_archive_can_t_leave_its_folder(tmp_path, name):
    archive_with(tmp_path / "a.zip", name)
    with pytest.raises(ValueError, match="outside the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "in")
    assert not (tmp_path / "in").exists() and not (tmp_path / "out.txt").exists()


def test_other_bad_archives(tmp_path, monkeypatch):
    archive_with(tmp_path / "a.zip", "link", stat.S_IFLNK | 0o777)
    with pytest.raises(ValueError, match="'link' is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "in")
    archive_with(tmp_path / "b.zip", "good")
    whole = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "c.zip").write_bytes(whole[:-30])
    with pytest.raises(ValueError, match="no archive that can be read"):
        unpack(tmp_path / "c.zip", tmp_path / "in")
    (tmp_path / "d.zip").write_bytes(whole.replace(b"contents", b"cOntents"))
    with pytest.raises(ValueError, match="no archive that can be read"):
        unpack(tmp_path / "d.zip", tmp_path / "in")
    monkeypatch.setattr(download, "SPARE", 10**18)
    with pytest.raises(DownloadError, match="GB free"):
        unpack(tmp_path / "b.zip", tmp_path / "in2")
    monkeypatch.undo()
    assert [p.name for p in unpack(tmp_path / "b.zip", tmp_path / "in3", ["good"])] == ["good"]


def test_tables_are_written_to_the_same_bytes(tmp_path, monkeypatch):
    import pandas as pd

    table = pd.DataFrame({"EntryID": ["A", "B"], "taxonomyID": ["1", "2"]})
    write_table(table, tmp_path / "t.tsv.zip")
    once = (tmp_path / "t.tsv.zip").read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_table(table, tmp_path / "t.tsv.zip")
    assert (tmp_path / "t.tsv.zip").read_bytes() == once
    with zipfile.ZipFile(tmp_path / "t.tsv.zip") as archive:
        assert archive.read("t.tsv") == b"EntryID\ttaxonomyID\nA\t1\nB\t2\n"
    assert files.HOSTS["book"].startswith("https://")
