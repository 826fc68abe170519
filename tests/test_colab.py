"""The first cell of a page on a hosted notebook: what it installs, and which edition it picks.

Colab is emulated by a fresh environment that "came with" most of what dlfb needs. All packages are
empty wheels made here, so that pip itself decides, offline; git takes a folder for GitHub.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from packaging.requirements import Requirement

from dlfb.colab import prepare
from dlfb.utils.context import edition
from tools import colab_cell

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
BOUNDS = {r.name: str(*(s.version for s in r.specifier))
          for r in map(Requirement, PROJECT["dependencies"])}  # fmt: skip
LACKING = {"adjustText", "biopython", "obonet", "py3Dmol", "platformdirs"}  # on Colab
CAME_WITH = {name: number for name, number in BOUNDS.items() if name not in LACKING} | {
    "torch": "2.6.0+cu124", "jax": "0.5.2", "jaxlib": "0.5.1", "numpy": "2.0.2",
}  # fmt: skip
STUB = """\
import shlex, subprocess, sys
class get_ipython:
    def run_line_magic(self, name, line):
        subprocess.run(f"{shlex.quote(sys.executable)} -m {name} {line}", shell=True)  # as IPython
"""


def cell(tmp_path, home="ada/dlfb"):
    """Return the cell that a repository with that home has, or with none."""
    address = f'Repository = "https://github.com/{home}"\n' if home else ""
    (tmp_path / "pyproject.toml").write_text(address)
    return colab_cell.colab_cell(tmp_path)


def make_wheel(folder, name, number, requires=()):
    module = name.lower().replace("-", "_")
    info = f"{module}-{number}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}"]
    metadata += [f"Requires-Dist: {needed}" for needed in requires]
    content = {f"{module}/__init__.py": "", f"{info}/METADATA": "\n".join(metadata) + "\n"}
    content[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    content[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*content, f"{info}/RECORD"])
    path = folder / f"{module}-{number}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in content.items():
            wheel.writestr(member, text)
    return path


@pytest.fixture
def hosted(tmp_path):
    """Return a function that runs code in a new environment with what it came with."""
    wheels, github, content = (tmp_path / name for name in ("wheels", "github", "content"))
    for folder in (wheels, github / "ada/dlfb", content):
        folder.mkdir(parents=True)
    for name, number in BOUNDS.items():
        make_wheel(wheels, name, number)
        make_wheel(wheels, name, "99.0", [f"{other}>={BOUNDS[other]}" for other in ("numpy",)])
    there = distribution("setuptools")  # pip builds dlfb with it
    with zipfile.ZipFile(wheels / f"setuptools-{there.version}-py3-none-any.whl", "w") as wheel:
        for file in there.files:
            if file.locate().is_file() and not {"..", "__pycache__"} & set(file.parts):
                wheel.write(file.locate(), file.as_posix())
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(ROOT / name, github / "ada/dlfb")
    unwanted = shutil.ignore_patterns("__pycache__", "datasets", "model")
    shutil.copytree(ROOT / "dlfb", github / "ada/dlfb/dlfb", ignore=unwanted)
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "All of it"]):
        subprocess.run(["git", *command], cwd=github / "ada/dlfb", check=True)
    venv.create(tmp_path / "env", with_pip=True, symlinks=True)
    [site] = (tmp_path / "env/lib").glob("python*/site-packages")
    for name, number in CAME_WITH.items():
        with zipfile.ZipFile(make_wheel(content, name, number)) as wheel:
            wheel.extractall(site)
    variables = {
        "PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull, "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{github.as_uri()}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }  # fmt: skip

    def run(source):
        code = STUB + TransformerManager().transform_cell(source)
        command = [str(tmp_path / "env/bin/python"), "-c", code]
        return subprocess.run(command, cwd=content, env=variables, capture_output=True, text=True)

    return run


@pytest.mark.slow
def test_what_came_with_the_notebook_stays_and_no_restart_is_needed(hosted, tmp_path):
    source = cell(tmp_path)
    versions = "{d.name: d.version for d in importlib.metadata.distributions()}"
    shown = f"import json, importlib.metadata; print(json.dumps({versions}))"
    done = hosted(f"{source}\nprint(dlfb.__version__)\n{source}\n{shown}")
    assert done.returncode == 0, done.stderr
    *told, there = done.stdout.splitlines()
    assert told == [version("dlfb")]  # and nothing else, without a GPU
    there = json.loads(there)
    assert {name: there[name] for name in CAME_WITH} == CAME_WITH
    assert {there[name] for name in LACKING} == {"99.0"}


def test_where_dlfb_is_there_the_cell_only_asks_for_the_edition(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("dlfb.colab.prepare", lambda: print("prepared"))
    exec(STUB + TransformerManager().transform_cell(cell(tmp_path)), {})
    assert capfd.readouterr().out == "prepared\n"


@pytest.mark.slow
def test_without_a_home_an_uploaded_wheel_is_installed(hosted, tmp_path):
    source = f"{cell(tmp_path, None)}\nprint(dlfb.__version__)"
    missing = hosted(source)
    assert missing.returncode and "Run `make wheel` in a copy" in missing.stderr
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path / "content")]
    subprocess.run([*command, str(tmp_path / "github/ada/dlfb")], check=True)
    done = hosted(source)
    assert done.stdout == f"{version('dlfb')}\n", done.stderr


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Emulate Colab with a GPU; nothing is chosen yet."""
    for name in ("DLFB_EDITION", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.setenv(name, "")  # so that what prepare() sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path / "nvidia-smi"


def test_a_hosted_gpu_gets_the_full_edition(gpu, capsys):
    prepare()
    assert edition() == "full" and "full edition" in capsys.readouterr().out
    code = "from dlfb.utils.context import edition; print(edition())"
    later = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert later.stdout == "full\n"
    prepare()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("why", ["no GPU", "no tool", "it hangs", "own machine", "chosen"])
def test_elsewhere_nothing_is_changed_or_said(gpu, monkeypatch, capsys, why):
    def hang(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    if why == "no GPU":
        gpu.write_text("#!/bin/sh\nexit 9\n")
    elif why == "no tool":
        monkeypatch.setenv("PATH", str(gpu.parent / "nowhere"))
    elif why == "it hangs":
        monkeypatch.setattr(subprocess, "run", hang)
    elif why == "own machine":
        monkeypatch.delenv("COLAB_RELEASE_TAG")
    else:
        monkeypatch.setenv("DLFB_EDITION", "pocket")
    prepare()
    assert edition() == "pocket" and capsys.readouterr().out == ""
