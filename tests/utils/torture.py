"""What ``test_restore.py`` does to a store, in processes of its own.

Called as ``python -m tests.utils.torture NAME FOLDER``; each function asserts what must hold and
prints what it saw. Neither torch nor jax is imported here, so that the process may fork.
"""

import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import filelock  # noqa: F401  (so that a process that has given up its rights need not read it)
import numpy as np

from dlfb.utils import store
from dlfb.utils.restore import restorable

SIZE = 10_000
CALLS = []


def result(n):
    """Return something of which every part says which call it comes from."""
    CALLS.append(n)
    return {"n": n, "table": np.full(SIZE, n), "text": str(n) * 100}


def whole(value) -> int:
    """Return the number of the call that `value` comes from; a mixture has none."""
    n = value["n"]
    assert value["table"].shape == (SIZE,) and (value["table"] == n).all()
    assert value["text"] == str(n) * 100
    return n


def restored(path) -> int:
    """Return the number of the result that the next call finds without computing."""
    n = whole(store.read(store.store_file(path)).value())
    CALLS.clear()
    assert whole(restorable(result)(n, store_path=path)) == n and CALLS == []
    return n


def strays(path: Path) -> list[str]:
    kept = (store.store_file(path).name, f".{store.store_file(path).name}.lock")
    return [p.name for p in path.parent.iterdir() if p.name not in kept]


def fork(function, *arguments) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        finally:
            os._exit(code)
    return child


def succeeded(child: int) -> bool:
    return os.waitpid(child, 0)[1] == 0


def save_on_and_on(path, first, started):
    """Save one result after another; say when the first save begins."""
    real = store.write

    def write(*arguments):
        os.write(started, b".")
        real(*arguments)

    store.write = write
    for n in range(first, first + 1000):
        restorable(result)(n, store_path=path, force=True)


def killed_at_random_instants(path, times=200):
    restorable(result)(0, store_path=path)
    start = time.perf_counter()
    for _ in range(10):
        restorable(result)(0, store_path=path, force=True)
    one_save = (time.perf_counter() - start) / 10
    draw, last, new, most = random.Random(42), 0, 0, 0
    for first in range(1000, 1000 * times + 1, 1000):
        reader, writer = os.pipe()
        child = fork(save_on_and_on, path, first, writer)
        os.close(writer)
        os.read(reader, 1)
        time.sleep(draw.random() * 1.5 * one_save)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        n = restored(path)
        assert n == last or first <= n < first + 1000, (n, last, first)
        new, last, most = new + (n != last), n, max(most, len(strays(path)))
    assert most <= 1
    restorable(result)(-1, store_path=path, force=True)
    assert strays(path) == []
    print(f"{times} kills: {new} left a new result, {times - new} the old; strays at most {most}")


def save_and_die_at_line(path, n, line):
    """Save, and kill this process before the `line`-th line that the store's module runs."""
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if frame.f_code.co_filename != store.__file__:
            return None
        lines += event == "line"
        if lines == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    restorable(result)(n, store_path=path)


def killed_at_every_line(path):
    restorable(result)(0, store_path=path)
    last, line, kept, done = 0, 0, [], False
    while not done:
        line += 1
        silent = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        done = succeeded(fork(save_and_die_at_line, path, line, line))
        os.dup2(silent, 1)
        n = restored(path)
        assert n in (last, line) and len(strays(path)) <= 1
        kept.append(n == line)
        last = n
    # Once the file is renamed the new result is there, and from then on it stays.
    assert kept == sorted(kept) and line > 30
    print(f"killed at {line - 1} lines: {sum(kept)} left the new result")


def ask_at_once(path, gate, log):
    def slow(n):
        os.write(log, b"c")
        time.sleep(0.3)
        return result(n)

    os.read(gate, 1)
    assert whole(restorable(slow)(5, store_path=path)) == 5


def computed_once(path):
    for count in (2, 8):
        gate, open_gate = os.pipe()
        log, write_log = os.pipe()
        children = [fork(ask_at_once, path / str(count), gate, write_log) for _ in range(count)]
        os.write(open_gate, b"." * count)
        assert all([succeeded(child) for child in children])
        assert os.read(log, 100) == b"c", count
    print("2 and 8 processes computed once")


def hold_forever(path, started):
    def endless(n):
        os.write(started, b".")
        time.sleep(600)

    restorable(endless)(1, store_path=path)


def a_dead_holder_frees_the_lock_and_a_living_one_is_waited_for(path):
    reader, writer = os.pipe()
    child = fork(hold_forever, path, writer)
    os.read(reader, 1)
    store.WAIT_QUIETLY = 0.2
    second = fork(lambda: whole(restorable(result)(1, store_path=path)))
    time.sleep(0.6)
    assert os.waitpid(second, os.WNOHANG) == (0, 0)
    os.kill(child, signal.SIGKILL)
    assert succeeded(second)
    assert restored(path) == 1


def full_disk(path):
    restorable(result)(1, store_path=path)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert whole(restorable(result)(2, store_path=path)) == 2
    assert ["could not be kept" in str(w.message) for w in caught] == [True]
    assert strays(path) == [] and restored(path) == 1


def read_only_folder(_):
    with tempfile.TemporaryDirectory() as root:  # Where any user may look, unlike a test's folder.
        os.chmod(root, 0o755)
        path = Path(root) / "kept" / "mlp"
        restorable(result)(1, store_path=path)
        os.chmod(path.parent, 0o555)
        done = succeeded(fork(use_read_only_folder, path))
        os.chmod(path.parent, 0o755)
    assert done


def use_read_only_folder(path):
    if os.getuid() == 0:  # For root no folder is read-only.
        os.setuid(65534)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert restored(path) == 1 and caught == []
        assert whole(restorable(result)(2, store_path=path)) == 2
        assert whole(restorable(result)(3, store_path=path.parent / "new" / "x")) == 3
    assert ["could not be kept" in str(w.message) for w in caught] == [True, True]
    assert strays(path) == [] and restored(path) == 1


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    globals()[name](Path(folder) / "mlp")
