"""A reader of the full edition: provisions, opens every page, and some of them again offline."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pandas as pd
import pytest

from tests.full_edition.world import (
    GO,
    GROUPS,
    OFFLINE,
    ROOT,
    STARTUP,
    TABLES,
    Pages,
    World,
    execute,
    serve_book,
    serve_model,
    serve_structures,
)
from tests.loopback import Loopback
from tests.tiny_esm import CHECKPOINTS


@pytest.fixture(scope="session")
def data() -> dict[str, pd.DataFrame | str]:
    """Return every third protein of the pocket edition: its tables, sequences and ontology."""
    files = {path.name: path for path in (ROOT / "dlfb/pocket/proteins/datasets").iterdir()}
    terms, taxonomy = (pd.read_csv(files[name], sep="\t", dtype=str) for name in TABLES)
    chosen = set(taxonomy["EntryID"].sort_values()[::3])
    records = re.findall(r"^>(\S+).*\n(.*)\n", files["train_sequences.fasta"].read_text(), re.M)
    sequences = pd.DataFrame(records, columns=["EntryID", "Sequence"])
    frames = {"terms": terms, "taxonomy": taxonomy, "sequences": sequences}
    frames = {
        name: t[t["EntryID"].isin(chosen)].reset_index(drop=True) for name, t in frames.items()
    }
    ontology = files["go-basic.obo"].read_text()
    return frames | {"ontology": re.sub("data-version: .*", f"data-version: {GO}", ontology)}


@pytest.fixture(scope="session")
def world(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("full-edition")
    with (
        Loopback() as book,
        Loopback() as go,
        Loopback() as hub,
        Loopback() as rcsb,
        Loopback() as elsewhere,
    ):
        serve_book(book, data)
        go.files["/ontology/go-basic.obo"] = data["ontology"].encode()
        pins = {name: serve_model(hub, name, folder / "models" / name) for name in CHECKPOINTS}
        serve_structures(rcsb)
        profile = folder / "ipython/profile_default/startup"
        profile.mkdir(parents=True)
        (profile / "00-redirect.py").write_text((STARTUP / "redirect.py").read_text())
        own = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "DLFB_"))}
        environment = own | {
            "PYTHONPATH": f"{STARTUP}{os.pathsep}{ROOT}",
            "IPYTHONDIR": str(folder / "ipython"),
            "DLFB_EDITION": "full",
            "HOME": str(folder),  # the cache is where a reader's is
            "XDG_CACHE_HOME": str(folder / ".cache"),
            "MPLCONFIGDIR": matplotlib.get_cachedir(),  # or it looks for fonts anew
            "DLFB_PROGRESS": "0",
            "HF_HOME": str(folder / "hub"),
            "HF_ENDPOINT": hub.url,
            "OMP_NUM_THREADS": "1",  # two processes at a time
            "JAX_PLATFORMS": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
            "NO_PROXY": "127.0.0.1",
            "WORLD_RCSB": rcsb.url,
            "WORLD_PINS": json.dumps(pins),
            "WORLD_LOG": str(folder / "asked-elsewhere.txt"),
        }
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment[name] = environment[name.lower()] = elsewhere.url
        environment["no_proxy"] = environment["NO_PROXY"]
        log = Path(environment["WORLD_LOG"])
        log.touch()
        yield World(book, go, hub, rcsb, elsewhere, folder / "models", log, environment)


@pytest.fixture(scope="session")
def pages(world, tmp_path_factory) -> Pages:
    """Provision, as a reader does, and execute every page."""
    output = tmp_path_factory.mktemp("pages")
    command = [str(Path(sys.executable).with_name("dlfb-provision")), "--source", "book"]
    command += ["--base-url", world.book.url, "--host", f"go={world.go.url}"]
    done = subprocess.run(command, env=world.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Pages(execute(GROUPS, output, world.environment), done.stdout)


@pytest.fixture(scope="session")
def again(world, pages, tmp_path_factory) -> Pages:
    """Execute some pages once more, now that no host answers any longer."""
    for host in world.hosts():
        host.server.shutdown()
        host.server.server_close()
    output = tmp_path_factory.mktemp("again")
    return Pages(execute([[number] for number in OFFLINE], output, world.environment), "")
