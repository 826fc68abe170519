"""The house: size and arrows of the package, versions, licences, what an installed one holds."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from unittest.mock import create_autospec

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dlfb
from dlfb import prediction
from tests.notebooks.guards import INVENTED, MACHINE_PATH, REGISTRY
from tools import colab_cell, home

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
HOUSE = ("pyproject.toml", "_config.yml", "CITATION.cff", "*.md", "notebooks/*", "dlfb/**/*.py")
HOUSE += ("_ext/*.py", "tools/*", ".github/workflows/*.yml")
# Where no word says that a protein is not a real one. Wanted: dlfb/**/*.md, notebooks/*, *.md too.
REAL = ("dlfb/**/*.py", "dlfb/**/*.md", "_ext/*.py", "notebooks/*", "[!C]*.md", "CONTRIBUTING.md")
# To be lowered with every module that gets thinner: 3,300 is the aim, 4,400 with what comes later.
MOST_LINES, MOST_LINES_OF_A_MODULE = 4704, 300
# Kept whole, whichever of them a page uses.
WANTED = """jupyterlab jupytext torch transformers jax flax optax pandas seaborn matplotlib py3Dmol
adjustText scikit-learn biopython obonet nbval"""


# The package


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "dlfb").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, among: dict) -> set[str]:
    """Return what a module imports, anywhere in it: our modules, and other libraries' roots."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            asked = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            ours = [sub for sub in submodules if sub in among]
            asked = ours if len(ours) == len(submodules) else [node.module, *ours]
        else:
            continue
        found |= {each if each in among else each.split(".")[0] for each in asked}
    return found


@pytest.fixture(scope="module")
def arrows():
    there = modules()
    return {name: imports(name, path, there) for name, path in there.items()}


def circle_in(arrows: dict[str, set[str]]) -> list[str]:
    """Return modules of which each is imported by the next, from one back to itself; or none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def arrow_problems(arrows: dict[str, set[str]]) -> list[str]:
    return [
        f"{name} imports {other}"
        for name, others in arrows.items()
        for other in others
        if other in ("tools", "tests", "notebooks")
        or (name.startswith("dlfb.utils") and other.startswith("dlfb.proteins"))
    ]


def test_arrows_go_one_way(arrows):
    assert arrow_problems(arrows) == []
    assert circle_in(arrows) == []


def test_wrong_arrows_are_noticed():
    bad = {"dlfb.utils.a": {"dlfb.proteins.b", "numpy"}, "dlfb.proteins.b": {"tools"}}
    wanted = ["dlfb.utils.a imports dlfb.proteins.b", "dlfb.proteins.b imports tools"]
    assert arrow_problems(bad) == wanted and circle_in(bad) == []
    assert set(circle_in({"a": {"b", "c"}, "b": {"d"}, "d": {"b"}})) == {"b", "d"}


def test_a_reader_can_hold_the_package_in_mind():
    lines = {name: len(path.read_text("utf8").splitlines()) for name, path in modules().items()}
    too_long = {name: n for name, n in lines.items() if n > MOST_LINES_OF_A_MODULE}
    assert too_long == {} and sum(lines.values()) <= MOST_LINES


# Versions


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf8").splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", f"{line}: an exact version is wanted"
            found[canonicalize_name(requirement.name)] = specifier.version
    return found


def asked_for() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in lines if not line.startswith("dlfb[")]


def test_requirements_pin_everything_that_is_asked_for():
    pinned, asked = pins(), {canonicalize_name(r.name): r.specifier for r in asked_for()}
    for name, bounds in asked.items():
        assert pinned[name] in bounds, f"{name}{bounds} is pinned to {pinned[name]}"
    assert {canonicalize_name(name) for name in WANTED.split()} <= asked.keys()
    local = [f"{name}=={version}" for name, version in pinned.items() if "+" in version]
    assert local == [], "these are of one machine"
    # Lower bounds only; but a second generation of jupyter-book reads other files.
    exact = {name for name, bounds in asked.items() if {b.operator for b in bounds} != {">="}}
    assert exact == {"jupyter-book"}


def test_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation["version"] == dlfb.__version__
    assert f"## {dlfb.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")
    assert f"Version {dlfb.__version__}" in (ROOT / "README.md").read_text(encoding="utf8")


def test_licences_are_there_in_full():
    apache = (ROOT / "LICENSE").read_text(encoding="utf8")
    assert "Apache License" in apache and "9. Accepting Warranty" in apache
    text = (ROOT / "LICENSE-text").read_text(encoding="utf8")
    assert "CC BY 4.0" in text and "Section 8 -- Interpretation" in text


def test_makefile_has_the_commands_that_are_promised():
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    wanted = {"book", "test", "lab", "notebooks", "bench", "results", "home", "page", "clean"}
    wanted |= {"coverage", "colab", "wheel", "student"}
    assert wanted <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf8")
    for tool in re.findall(r"tools/\w+\.(?:py|sh)", makefile):
        assert (ROOT / tool).is_file(), f"the Makefile calls {tool}, which is not there"


def test_make_refuses_an_old_python_with_a_sentence(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo Python 3.9.1; exit 0; }\nexit 1\n')
    old.chmod(0o755)
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    made = subprocess.run(
        ["make", "book", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode != 0
    assert "needs Python 3.11 or newer" in made.stderr and "Python 3.9.1" in made.stderr
    assert not (tmp_path / ".venv").exists()


def test_readme_s_lines_run(monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    (code,) = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"^dlfb-predict (.*)$", readme, re.MULTILINE)
    found = pd.DataFrame(columns=prediction.COLUMNS)
    stand_in = create_autospec(prediction.predict, return_value=found)
    monkeypatch.setattr(prediction, "predict", stand_in)
    exec(code, {})
    assert prediction.main(command.split()) == 0 and stand_in.call_count == 2


def test_installed_package_brings_its_files(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "dlfb", tmp_path / "dlfb", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--quiet", "--wheel-dir", str(tmp_path / "out"), str(tmp_path)]
    subprocess.run(command, check=True)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "dlfb").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert not there - inside, "pip install . would leave these behind"
    assert not [name for name in inside if name.startswith(("tests", "tools", "notebooks"))]
    assert wheel.stat().st_size < 20e6, "a wheel of this size can't be uploaded to Colab quickly"


def test_importing_dlfb_is_cheap_and_changes_nothing():
    code = (
        "import sys, os, logging, warnings; before = (dict(os.environ), warnings.filters[:],"
        " logging.root.level); import dlfb; print([name for name in ('torch', 'jax', 'numpy',"
        " 'pandas', 'matplotlib') if name in sys.modules]); print(before == (dict(os.environ),"
        " warnings.filters[:], logging.root.level))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split("\n")[:2] == ["[]", "True"]


# The home of the repository


@pytest.fixture
def copy(tmp_path):
    """Return a copy of all places that name the home, with a page that does."""
    for name, *_ in home.PLACES:
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    page = f"# A page\n\n```{{code-cell}} ipython3\n{colab_cell.FIRST_WORDS}.\n```\n\nWords.\n"
    (tmp_path / "notebooks" / "99_page.md").write_text(page)
    return tmp_path


def test_all_places_agree_on_the_home():
    home.check(ROOT)
    if colab_cell.repository() is None:
        there = "".join((ROOT / name).read_text("utf8") for name, *_ in home.PLACES)
        assert "OWNER" not in there and "github.com" not in there


def test_home_is_written_everywhere_and_moved(copy):
    hosts = r"(?:github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh)"
    for new in ("ada/proteins", "eve/dlfb"):
        home.move(copy, new)
        home.check(copy)
        colab_cell.write_into_pages(copy)
        texts = "".join(path.read_text() for path in copy.rglob("*") if path.is_file())
        assert set(re.findall(rf"{hosts}/([\w.-]+/[\w-]+)", texts)) == {new}
        assert colab_cell.repository(copy) == new and f'git+https://github.com/{new}"' in texts
    page = (copy / "notebooks" / "99_page.md").read_text()
    assert page.startswith("# A page\n") and page.endswith("\nWords.\n")
    config = yaml.safe_load((copy / "_config.yml").read_text())
    assert config["launch_buttons"]["colab_url"] and config["html"]["use_repository_button"]
    assert tomllib.loads((copy / "pyproject.toml").read_text())["project"]["urls"]["Issues"]


def test_disagreement_is_noticed_before_anything_is_moved(copy):
    (copy / "_config.yml").write_text("html:\n")
    before = (copy / "README.md").read_text()
    with pytest.raises(ValueError, match=r"_config\.yml does not say"):
        home.move(copy, "ada/proteins")
    assert (copy / "README.md").read_text() == before


@pytest.mark.parametrize("name", ["dlfb", "a/b/c", "a b/c", "https://github.com/a/b", "a/b.git"])
def test_home_refuses_what_is_no_home(copy, name):
    with pytest.raises(ValueError, match="owner/name"):
        home.move(copy, name)


# What no file of the repository may hold


def test_no_file_names_a_machine_or_a_registry():
    for pattern in HOUSE:
        for path in ROOT.glob(pattern):
            if path.suffix in (".md", ".py", ".sh", ".toml", ".tsv", ".yml", ".cff", ".ipynb"):
                text = path.read_text(encoding="utf8")
                for bad in (MACHINE_PATH, REGISTRY):
                    found = bad.search(text)
                    assert found is None, f"{path.relative_to(ROOT)} names {found.group(0)}"


@pytest.mark.parametrize("pattern", REAL)
def test_nothing_is_invented(pattern):
    for path in ROOT.glob(pattern):
        found = INVENTED.search(path.read_text(encoding="utf8"))
        assert found is None, f"{path.relative_to(ROOT)} says {found.group(0)}"
