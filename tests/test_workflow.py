"""The workflow that publishes the book: well formed, and made of the targets that people use."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "book.yml"


def test_the_workflow_is_one():
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema"]
    subprocess.run([*command, "vendor.github-workflows", WORKFLOW], check=True)


@pytest.fixture(scope="module")
def workflow():
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf8"))


def commands(job: dict) -> str:
    return "\n".join(step.get("run", "") for step in job["steps"])


def test_it_runs_what_people_run(workflow):
    # YAML reads the key `on` as true.
    assert set(workflow[True]) == {"push", "pull_request", "schedule", "workflow_dispatch"}
    used = re.findall(r"make ([a-z]+)", "\n".join(map(commands, workflow["jobs"].values())))
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    assert {"test", "colab", "home"} == set(used)
    assert set(used) <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def test_only_what_was_tested_in_a_browser_is_published(workflow):
    jobs = workflow["jobs"]
    assert workflow["env"]["DLFB_REQUIRE_BROWSER"] == "1"
    assert jobs["publish"]["needs"] == "test" and "chromium" in commands(jobs["test"])
    (upload,) = [s for s in jobs["test"]["steps"] if "upload-pages" in s.get("uses", "")]
    assert upload["with"]["path"] == "_build/html"
    assert upload["if"] == jobs["publish"]["if"]


def test_a_stranger_can_publish_nothing(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    asking = [name for name, job in workflow["jobs"].items() if "permissions" in job]
    assert asking == ["publish"] and "pull_request" not in workflow["jobs"]["publish"]["if"]
