"""`make lab`: an edit to the notebook half of a page updates the text half."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tools.halves import cells_of, read_text_half

ROOT = Path(__file__).resolve().parents[1]
PAGE = "01_protein_structures"
TOKEN = "a-token-of-the-test"


def arguments(*more: str) -> list[str]:
    """Return what `make lab` gives to jupyter."""
    command = ["make", "--dry-run", "--silent", "--old-file=.venv/.ready", *more, "lab"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in shown.splitlines() if "jupyter lab" in line]
    return line.split("/jupyter ")[1].split()


def test_lab_runs_as_anybody(tmp_path):
    (tmp_path / "id").write_text("#!/bin/sh\necho ${ID_OF_THE_TEST}\n")
    (tmp_path / "id").chmod(0o755)
    for number, allowed in (("0", True), ("1000", False), ("10", False)):
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        given = arguments(f"SHELL=env PATH={path} ID_OF_THE_TEST={number} sh")
        assert ("--allow-root" in given) == allowed


@pytest.fixture
def lab(tmp_path):
    """Return the folder that JupyterLab serves, a session with it, and its address."""
    pages = tmp_path / "notebooks"
    pages.mkdir()
    for name in (f"{PAGE}.md", f"{PAGE}.ipynb", "jupytext.toml"):
        shutil.copy(ROOT / "notebooks" / name, pages)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("jupyter")), *arguments(), "--no-browser"]
    command += [f"--IdentityProvider.token={TOKEN}", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    places = ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR",
              "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")  # fmt: skip
    own = {name: str(tmp_path / name) for name in places}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | own, **quiet)
    session = requests.Session()
    session.headers["Authorization"] = f"token {TOKEN}"
    patient = Retry(connect=240, backoff_factor=0.5, backoff_max=0.5)  # until the server is there
    session.mount("http://", HTTPAdapter(max_retries=patient))
    try:
        yield pages, session, f"http://127.0.0.1:{port}/api/contents/{PAGE}.ipynb"
    finally:
        session.close()
        process.terminate()
        process.wait(30)


def test_saving_the_notebook_writes_the_text(lab):
    pages, session, address = lab
    body = session.get(address, timeout=60).json()
    cell = next(cell for cell in body["content"]["cells"] if cell["cell_type"] == "markdown")
    cell["source"] += "\n\nA sentence written in the notebook."
    session.put(address, json=body, timeout=60).raise_for_status()
    assert "A sentence written in the notebook." in (pages / f"{PAGE}.md").read_text()
    # What is stored with the page stays, and the two halves say the same.
    stored = nbformat.read(pages / f"{PAGE}.ipynb", as_version=4)
    assert any(cell.get("outputs") for cell in stored.cells)
    assert cells_of(read_text_half(pages / f"{PAGE}.md")) == cells_of(stored)
