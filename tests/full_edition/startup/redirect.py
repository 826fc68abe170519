"""Run by the pages' kernels before the first cell: what the outside world is in the test.

The hub itself is redirected by HF_ENDPOINT, as a reader would; only what is pinned in the
package is replaced here.
"""


def redirect() -> None:
    import json
    import os

    from dlfb.proteins import checkpoints, structures

    structures.RCSB = os.environ["WORLD_RCSB"]
    pins = json.loads(os.environ["WORLD_PINS"])
    for name in checkpoints.PINNED_CHECKPOINTS:
        checkpoints.PINNED_CHECKPOINTS[name] = checkpoints.Checkpoint(*pins.get(name, ["0" * 40]))


redirect()
del redirect
