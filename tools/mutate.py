"""make mutants: breaks a module on purpose, in one place after another, and asks the tests.

    python tools/mutate.py                          all modules named in MODULES
    python tools/mutate.py dlfb/proteins/train.py --most 20

A mutant that its tests let pass shows something that no test looks at, or that does not matter. The
mutants are cosmic-ray's; of the many replacements that it has for one operator, --each are drawn.
What cosmic-ray does not do: each mutant's tests run in a fork of a process that has imported the
large libraries already, in a copy of the tree, so that a mutant costs about what its tests cost.
Nothing of the working tree is changed. Linux and macOS; not a part of `make test`.
"""

import argparse
import ast
import difflib
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "_build" / "cosmic-ray"  # installed on demand, apart from what the package needs
REQUIREMENT = "cosmic-ray==8.7.0"
EMBEDDING = "tests/proteins/test_embeddings.py -k 'not really_ends'"
# module: what pytest is asked for it
MODULES = {
    "dlfb/proteins/embeddings.py": EMBEDDING,
    "dlfb/proteins/forward.py": EMBEDDING,
    "dlfb/proteins/packed_forward.py": EMBEDDING,
    "dlfb/utils/restore.py": "tests/utils/test_restore.py -k 'not importing_it'",
    "dlfb/proteins/metrics.py": "tests/proteins/test_metrics.py",
    "dlfb/proteins/matrices.py": "tests/proteins/test_metrics.py",
    "dlfb/proteins/train.py": "tests/proteins/test_train.py",
}
# Imported before the forks, never used there: JAX and torch start their threads at first use.
WARM = (
    "pytest", "hypothesis", "numpy", "pandas", "scipy.stats", "sklearn.metrics", "torch",
    "transformers", "jax", "flax.linen", "flax.training.train_state", "optax", "pyarrow.feather",
)  # fmt: skip
FOLDERS = ("dlfb", "tests", "tools")


class Mutant(NamedTuple):
    line: int
    operator: str
    source: str


class Run(NamedTuple):
    mutant: Mutant | None
    copy: Path
    ends: float


def mutants(source: str, each: int, seed: int = 0) -> list[Mutant]:
    """Return the mutants of a module's source, in the order of its lines."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.operators.provider import OperatorProvider

    provider, tree = OperatorProvider(), get_ast(source)
    annotations = [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
        for parent in ast.walk(ast.parse(source))
        for name in ("annotation", "returns")
        if (node := getattr(parent, name, None)) is not None
    ]
    places = defaultdict(list)  # one place and kind: the operators that have something for it
    for name in provider:
        if provider[name].arguments():
            continue
        operator = provider[name]()
        found = (p for node in ast_nodes(tree) for p in operator.mutation_positions(node))
        for occurrence, (start, _) in enumerate(found):
            # `int | None` in an annotation is no sum.
            if not any(first <= start < last for first, last in annotations):
                places[start, name.split("_")[0]].append((operator, occurrence))
    draw, chosen = random.Random(seed), []
    for (start, kind), candidates in sorted(places.items()):
        for operator, occurrence in draw.sample(candidates, min(each, len(candidates))):
            try:
                mutated = mutate_code(source, operator, occurrence)
            except AttributeError:  # It has nothing for `except a.b`.
                continue
            if mutated is not None and mutated != source:
                chosen.append(Mutant(start[0], kind, mutated))
    return chosen


def begin(mutant: Mutant | None, module: str, tests: str, copy: Path, seconds: float) -> int:
    """Fork a process that runs the tests on a mutant, or on the module as it is."""
    source = (ROOT / module).read_text("utf8") if mutant is None else mutant.source
    (copy / module).write_text(source, "utf8")
    child = os.fork()
    if child:
        return child
    status = 3
    try:
        os.setsid()  # So that what it starts can be ended with it.
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy)
        sys.path.insert(0, str(copy))
        with open(copy / "output.txt", "w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            import shlex

            import pytest

            options = ["-x", "-q", "-p", "no:cacheprovider", "--rootdir", str(copy)]
            status = int(pytest.main([*shlex.split(tests), *options]))
            import dlfb

            if not Path(dlfb.__file__).is_relative_to(copy):
                status = 4
    finally:
        os._exit(status)


def ended(running: dict[int, Run]) -> tuple[Run, int | None]:
    """Wait for one of the processes; return its exit status, None if its time was up."""
    while True:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child in running:
            return running.pop(child), os.waitstatus_to_exitcode(status)
        for child, run in running.items():
            if time.monotonic() > run.ends:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return running.pop(child), None
        time.sleep(0.02)


def test_module(module: str, tests: str, args: argparse.Namespace, copies: list[Path]) -> None:
    """Run the tests on every mutant, and print those that survive."""
    source = (ROOT / module).read_text("utf8")
    start = time.monotonic()
    running = {begin(None, module, tests, copies[0], 600): Run(None, copies[0], start + 600)}
    _, status = ended(running)
    if status != 0:
        print((copies[0] / "output.txt").read_text()[-3000:])
        raise SystemExit(f"{tests} does not pass as things are (status {status}).")
    usual = time.monotonic() - start
    limit = 10 + 4 * usual
    todo = mutants(source, args.each)
    if args.most:
        todo = sorted(random.Random(1).sample(todo, min(args.most, len(todo))))
    print(f"{module}: {len(todo)} mutants, {usual:.1f} s for the tests", flush=True)
    number, killed, slow, survivors = len(todo), 0, 0, []
    free = list(copies)
    while todo or running:
        while todo and free:
            mutant, copy = todo.pop(0), free.pop()
            child = begin(mutant, module, tests, copy, limit)
            running[child] = Run(mutant, copy, time.monotonic() + limit)
        run, status = ended(running)
        free.append(run.copy)
        killed, slow = killed + (status != 0), slow + (status is None)
        if status == 0:
            survivors.append(run.mutant)
    for copy in copies:
        (copy / module).write_text(source, "utf8")
    for mutant in sorted(survivors):
        print(f"  survived, line {mutant.line}, {mutant.operator}:\n{difference(source, mutant)}")
    minutes = (time.monotonic() - start) / 60
    share = f"{killed / number:.1%}" if number else "none"
    print(
        f"{module}: {killed} of {number} killed ({share}), {slow} of them by the clock; "
        f"{minutes:.1f} minutes",
        flush=True,
    )


def difference(source: str, mutant: Mutant) -> str:
    changed = difflib.unified_diff(source.splitlines(), mutant.source.splitlines(), n=0)
    return "\n".join(f"    {line}" for line in list(changed)[3:])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", default=list(MODULES), help="of MODULES")
    parser.add_argument("--each", type=int, default=2, help="replacements of one operator")
    parser.add_argument("--most", type=int, help="mutants a module, drawn; default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(arguments)
    unknown = [module for module in args.modules if module not in MODULES]
    if unknown:
        parser.error(f"MODULES in tools/mutate.py has no {unknown[0]!r}")
    if not LIBRARY.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(LIBRARY)]
        subprocess.run([*command, REQUIREMENT], check=True)
    sys.path.append(str(LIBRARY))  # At the end: what is installed here already goes first.
    # A mutant written within the same second as the last must not be taken for it.
    sys.dont_write_bytecode = True
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    for name in WARM:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="dlfb-mutants-") as folder:
        copies = [Path(folder) / str(i) for i in range(args.jobs)]
        for copy in copies:
            ignored = shutil.ignore_patterns("__pycache__")
            for name in FOLDERS:
                shutil.copytree(ROOT / name, copy / name, ignore=ignored)
            for file in (*ROOT.glob("*.toml"), *ROOT.glob("*.txt"), ROOT / "Makefile"):
                shutil.copy(file, copy)
        for module in args.modules:
            test_module(module, MODULES[module], args, copies)


if __name__ == "__main__":
    main()
