"""`make lab`: an edit to either half of a page updates the other."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import requests

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


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Return the folder that JupyterLab serves, and a function that asks it for its contents."""
    folder = tmp_path_factory.mktemp("lab")
    pages = folder / "notebooks"
    pages.mkdir()
    for name in (f"{PAGE}.md", f"{PAGE}.ipynb", "jupytext.toml"):
        shutil.copy(ROOT / "notebooks" / name, pages)
    command = [str(Path(sys.executable).with_name("jupyter")), *arguments(), "--no-browser"]
    command += [f"--IdentityProvider.token={TOKEN}", "--ServerApp.port=0"]
    command += ["--ServerApp.ip=127.0.0.1"]
    places = {"JUPYTER_RUNTIME_DIR": "runtime", "JUPYTER_CONFIG_DIR": "config",
              "JUPYTERLAB_SETTINGS_DIR": "settings",
              "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}  # fmt: skip
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=folder, env=environment, **quiet)
    try:
        address = wait_for_server(folder / "runtime", process)

        def contents(method: str, name: str, **body):
            headers = {"Authorization": f"token {TOKEN}"}
            url = f"{address}api/contents/{name}"
            answer = requests.request(method, url, headers=headers, json=body or None, timeout=60)
            answer.raise_for_status()
            return answer.json()

        yield pages, contents
    finally:
        process.terminate()
        process.wait(30)


def wait_for_server(folder: Path, process, seconds: float = 120) -> str:
    """Return the address at which a server answers, once it does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        for path in folder.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError, KeyError, requests.RequestException):
                address = json.loads(path.read_text())["url"]
                if requests.get(f"{address}api", timeout=5).ok:
                    return address
        time.sleep(0.1)
    pytest.fail("JupyterLab did not start.")


def test_saving_the_notebook_writes_the_text(lab):
    pages, contents = lab
    notebook = contents("GET", f"{PAGE}.ipynb")["content"]
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    cell["source"] += "\n\nA sentence written in the notebook."
    contents("PUT", f"{PAGE}.ipynb", type="notebook", format="json", content=notebook)
    assert "A sentence written in the notebook." in (pages / f"{PAGE}.md").read_text()
    # What is stored with the page stays, and the two halves say the same.
    stored = nbformat.read(pages / f"{PAGE}.ipynb", as_version=4)
    assert any(cell.get("outputs") for cell in stored.cells)
    assert cells_of(read_text_half(pages / f"{PAGE}.md")) == cells_of(stored)


def test_editing_the_text_changes_the_notebook(lab):
    pages, contents = lab
    text = pages / f"{PAGE}.md"
    edited = text.read_text().replace("# Looking at proteins", "# Looking at proteins again", 1)
    text.write_text(edited)
    # As an editor would, a while after the notebook was saved: the younger half counts.
    later = (pages / f"{PAGE}.ipynb").stat().st_mtime + 5
    os.utime(text, (later, later))
    notebook = contents("GET", f"{PAGE}.ipynb")["content"]
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    assert sources[0].startswith("# Looking at proteins again")
    assert any(cell.get("outputs") for cell in notebook["cells"])
    contents("PUT", f"{PAGE}.ipynb", type="notebook", format="json", content=notebook)
    assert "Looking at proteins again" in (pages / f"{PAGE}.ipynb").read_text()
