"""The first cell of a page on a hosted notebook: what it installs, and which edition it picks.

A hosted notebook is emulated by a fresh environment, which "came with" other versions of torch,
jax, jaxlib, numpy and pandas. They, and all that pip may choose from, are empty wheels made here,
so that pip itself decides, offline; git takes a folder for GitHub. One test at the end does it
with the registry's real packages, on demand:

    DLFB_TEST_REGISTRY=01,02 pytest tests/test_colab.py -k registry -s
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import jupytext
import pytest
from packaging.requirements import Requirement

from dlfb.colab import prepare
from dlfb.provision.files import HOSTS
from dlfb.utils import download
from dlfb.utils.context import edition, provisioned_dir
from tests.loopback import Loopback
from tests.test_provision import FILES, GO, publish
from tests.test_provision_uniprot import fasta, gaf, stream
from tools import colab_cell

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
CELL = colab_cell.TEMPLATE.replace("OWNER/dlfb", "ada/dlfb")
KEPT = {"torch": "2.6.0+cu124", "jax": "0.5.2", "jaxlib": "0.5.1", "numpy": "2.0.2",
        "pandas": "2.2.3"}  # fmt: skip
NEWEST = "99.0"


# The installation


def make_wheel(folder: Path, name: str, version: str, requires: tuple = ()) -> Path:
    """Write a wheel that holds an empty module."""
    module = name.lower().replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {needed}" for needed in requires]
    content = {
        f"{module}/__init__.py": "",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    content[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in content.items():
            wheel.writestr(member, text)
    return path


def wheel_of_installed(folder: Path, name: str) -> None:
    """Pack what is installed here into a wheel again; pip builds dlfb with it."""
    there = distribution(name)
    with zipfile.ZipFile(folder / f"{name}-{there.version}-py3-none-any.whl", "w") as wheel:
        for file in there.files:
            if file.locate().is_file() and not {"..", "__pycache__"} & set(file.parts):
                wheel.write(file.locate(), file.as_posix())


def put_on_github(folder: Path) -> None:
    """Make a git repository of the package as it is here."""
    folder.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "dlfb", folder / "dlfb", ignore=shutil.ignore_patterns("__pycache__"))
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "All of it"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


@pytest.fixture(scope="module")
def github(tmp_path_factory):
    """Return the environment variables that make git take a folder for GitHub."""
    folder = tmp_path_factory.mktemp("github")
    put_on_github(folder / "ada/dlfb")
    return {
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }  # fmt: skip


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Return a folder of all that pip may choose from, old and tempting new versions."""
    folder = tmp_path_factory.mktemp("wheels")
    wheel_of_installed(folder, "setuptools")
    for name in KEPT:
        make_wheel(folder, name, NEWEST)
    for needed in NEEDED:
        if needed.name not in KEPT:
            (bound,) = needed.specifier
            make_wheel(folder, needed.name, bound.version)
            make_wheel(folder, needed.name, NEWEST, [f"{name}>={NEWEST}" for name in KEPT])
    return folder


class Runtime:
    """A hosted notebook: an environment, a folder to work in, and a GPU or none."""

    def __init__(self, folder: Path, variables: dict[str, str]):
        venv.create(folder / "env", with_pip=True, symlinks=True)
        self.python = str(folder / "env/bin/python")
        self.folder, self.tools = folder / "content", folder / "tools"
        self.folder.mkdir()
        give_nvidia_smi(self.tools, works=False)
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        path = f"{self.tools}{os.pathsep}{os.environ['PATH']}"
        self.variables = {**kept, "PATH": path, "DLFB_CACHE": str(folder / "cache"), **variables}

    def run(self, code: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.python, "-c", code], cwd=self.folder, env=self.variables, capture_output=True,
            text=True,
        )  # fmt: skip

    def bring(self, versions: dict[str, str]) -> None:
        """Leave nothing but pip and stand-ins of packages, as if the environment came with them."""
        [site] = (self.folder.parent / "env/lib").glob("python*/site-packages")
        for path in site.iterdir():
            if not path.name.startswith("pip"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, number in versions.items():
            with zipfile.ZipFile(make_wheel(self.folder, name, number)) as wheel:
                wheel.extractall(site)

    def versions(self) -> dict[str, str]:
        names = "{d.name: d.version for d in distributions()}"
        done = self.run(f"import json\nfrom importlib.metadata import distributions\n"
                        f"print(json.dumps({names}))")  # fmt: skip
        return json.loads(done.stdout)


def give_nvidia_smi(folder: Path, works: bool) -> None:
    folder.mkdir(exist_ok=True)
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nexit {0 if works else 9}\n")
    tool.chmod(0o755)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory, github, wheels):
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    return Runtime(tmp_path_factory.mktemp("runtime"), {**github, **offline})


@pytest.mark.slow
def test_what_came_with_the_runtime_keeps_its_version(runtime):
    runtime.bring(KEPT)
    done = runtime.run(f"{CELL}\nimport dlfb\nprint(dlfb.__version__)\n{CELL}")
    assert done.returncode == 0, done.stderr
    # Without a GPU it installs and says nothing, and without a restart dlfb can be imported.
    assert done.stdout == f"{PROJECT_VERSION}\n"
    there = runtime.versions()
    assert {name: there[name] for name in KEPT} == KEPT
    assert {needed.name for needed in NEEDED} <= set(there)
    # The newest of these would have brought other versions of what was kept.
    assert there["flax"] == "0.10" and there["transformers"] == "5.3"


@pytest.mark.slow
def test_a_version_that_will_not_do_is_told_and_kept(runtime):
    runtime.bring({**KEPT, "numpy": "1.26.4"})
    done = runtime.run(CELL)
    told = done.stderr[done.stderr.index("RuntimeError") :]
    assert "can't be installed beside the versions that are here, which are kept" in told
    assert "numpy==1.26.4" in told and "numpy>=2.0" in told
    assert "dlfb" not in runtime.versions() and runtime.versions()["numpy"] == "1.26.4"
    assert not (runtime.folder / "dlfb-constraints.txt").exists()


PROJECT_VERSION = version("dlfb")


def run_cell(cell: str = CELL) -> None:
    exec(cell, {})


def test_the_cell_does_nothing_where_somebody_installed_dlfb(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr("dlfb.colab.prepare", lambda: print("prepared"))
    monkeypatch.setattr(subprocess, "run", lambda *command, **_: print(command))
    monkeypatch.chdir(tmp_path)
    run_cell()
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())
    # Where the cell did it, it chooses the edition again after a restart.
    (tmp_path / "dlfb-constraints.txt").write_text("numpy==2.0.2")
    run_cell()
    assert capfd.readouterr().out == "prepared\n"


def test_the_cell_says_when_there_is_no_home_yet(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="no public address yet"):
        run_cell(colab_cell.TEMPLATE)


# The edition


@pytest.fixture
def hosted(monkeypatch, tmp_path):
    """Return a server in place of every host; there is a GPU, and nothing is chosen yet."""
    for name in ("DLFB_EDITION", "DLFB_ASSETS", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.setenv(name, "")  # so that what prepare() sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("DLFB_CACHE", str(tmp_path / "cache"))
    give_nvidia_smi(tmp_path / "tools", works=True)
    monkeypatch.setenv("PATH", str(tmp_path / "tools"), prepend=os.pathsep)
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    with Loopback() as server:
        for name in HOSTS:
            monkeypatch.setitem(HOSTS, name, server.url)
        publish(server, FILES)
        yield server


def test_a_gpu_gets_the_full_edition(hosted, monkeypatch, capsys):
    assert edition() == "pocket"
    prepare()
    assert edition() == "full" and "full edition: real proteins" in capsys.readouterr().out
    for name in FILES:
        assert (provisioned_dir() / name).is_file() == name.startswith("proteins/")
    code = "from dlfb.utils.context import edition; print(edition())"
    later = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert later.stdout == "full\n"
    # Once more, and once more after a restart of the notebook.
    hosted.requests.clear()
    prepare()
    assert capsys.readouterr().out == ""
    monkeypatch.delenv("DLFB_EDITION")
    prepare()
    assert edition() == "full" and hosted.requests == []


@pytest.mark.parametrize("tool", ["fails", "is not there", "hangs"])
def test_without_a_gpu_it_is_pocket(hosted, tmp_path, monkeypatch, capsys, tool):
    if tool == "fails":
        give_nvidia_smi(tmp_path / "tools", works=False)
    elif tool == "is not there":
        monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    else:

        def hang(command, timeout, **_):
            raise subprocess.TimeoutExpired(command, timeout)

        monkeypatch.setattr(subprocess, "run", hang)
    prepare()
    assert edition() == "pocket" and hosted.requests == [] and capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["DLFB_EDITION", "DLFB_ASSETS"])
def test_what_the_reader_chose_stays(hosted, monkeypatch, name):
    monkeypatch.setenv(name, "pocket")
    prepare()
    assert edition() == "pocket" and hosted.requests == []


def test_without_a_host_it_is_pocket(hosted, capsys):
    content, hosted.files = hosted.files, {}
    prepare()
    assert edition() == "pocket"
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("The pages stay with the pocket edition") and "404" in told
    hosted.files = content
    prepare()
    assert edition() == "full"


@pytest.mark.parametrize("missing", ["host", "file"])
def test_without_the_book_s_files_they_are_built(hosted, missing):
    if missing == "host":
        hosted.files = {}
    else:
        publish(hosted, {name: data for name, data in FILES.items() if "taxonomy" not in name})
    species = {9606: "HUMAN/goa_human", 10090: "MOUSE/goa_mouse", 559292: "YEAST/goa_yeast"}
    for taxon, name in species.items():
        row = (f"P{taxon}", "GO:0005488", "IDA", "enables", f"taxon:{taxon}")
        hosted.files[f"/pub/databases/GO/goa/{name}.gaf.gz"] = gaf(row).encode()
        hosted.files[stream(taxon)] = fasta(f"P{taxon}").encode()
    hosted.files["/ontology/go-basic.obo"] = GO.encode()
    prepare()
    assert edition() == "full"
    assert (provisioned_dir() / "proteins/datasets/train_taxonomy.tsv.zip").stat().st_size > 50


# With real packages, on demand

REAL = {"numpy": "2.2.*", "pandas": "2.2.*", "jax": "0.9.*", "jaxlib": "0.9.*"}


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("DLFB_TEST_REGISTRY"), reason="DLFB_TEST_REGISTRY not set")
def test_pages_run_beside_other_versions_from_the_registry(tmp_path, github):
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    runtime = Runtime(tmp_path, {**github, **pip, "MPLBACKEND": "agg", "DLFB_PROGRESS": "0"})
    torch = f"torch=={version('torch').partition('+')[0]}"  # any other is gigabytes more
    wanted = [*(f"{name}=={number}" for name, number in REAL.items()), torch]
    install = [runtime.python, "-m", "pip", "install", "-q", *wanted]
    subprocess.run(install, check=True, env=runtime.variables)
    before = runtime.versions()
    for number in os.environ["DLFB_TEST_REGISTRY"].split(","):
        (page,) = (ROOT / "notebooks").glob(f"{number}_*.md")
        code = [cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code"]
        assert code[0] == colab_cell.colab_cell()
        done = runtime.run("\n".join([CELL, *code[1:]]))
        print(page.stem, re.sub(r"\s+", " ", done.stdout)[-200:])
        assert done.returncode == 0, f"{page.stem}:\n{done.stderr[-4000:]}"
    after = runtime.versions()
    print({name: after[name] for name in (*KEPT, "flax", "optax", "transformers", "scipy")})
    assert {name: after[name] for name in KEPT} == {name: before[name] for name in KEPT}
