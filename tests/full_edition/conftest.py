"""A reader of the full edition: provisions, opens every page, and some of them again offline."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pandas as pd
import pytest

from tests.full_edition.world import (
    GROUPS,
    OFFLINE,
    ROOT,
    STARTUP,
    Pages,
    World,
    execute,
    read_data,
    serve_book,
    serve_models,
    serve_structures,
)
from tests.loopback import Loopback


@pytest.fixture(scope="session")
def data() -> dict[str, pd.DataFrame | str]:
    return read_data()


@pytest.fixture(scope="session")
def world(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("full-edition")
    with Loopback() as book, Loopback() as hub, Loopback() as rcsb, Loopback() as elsewhere:
        serve_book(book, data)
        serve_models(hub, folder / "models")
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
            "WORLD_LOG": str(folder / "asked-elsewhere.txt"),
        }
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment[name] = environment[name.lower()] = elsewhere.url
        environment["no_proxy"] = environment["NO_PROXY"]
        log = Path(environment["WORLD_LOG"])
        log.touch()
        yield World(book, hub, rcsb, elsewhere, folder / "models", log, environment)


@pytest.fixture(scope="session")
def pages(world, tmp_path_factory) -> Pages:
    """Provision, as a reader does, and execute every page."""
    output = tmp_path_factory.mktemp("pages")
    command = [sys.executable, "-c", "from dlfb.provision import main; main()", "--base-url"]
    command += [world.book.url, "--ontology", f"{world.book.url}/go-basic.obo"]
    done = subprocess.run(command, env=world.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Pages(execute(GROUPS, output, world.environment), done.stdout)


@pytest.fixture(scope="session")
def again(world, pages, tmp_path_factory) -> Pages:
    """Execute some pages once more, now that no host answers any longer."""
    for host in (world.book, world.hub, world.rcsb):
        host.server.shutdown()
        host.server.server_close()
    output = tmp_path_factory.mktemp("again")
    return Pages(execute([[number] for number in OFFLINE], output, world.environment), "")
