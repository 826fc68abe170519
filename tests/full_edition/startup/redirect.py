"""Run by the pages' kernels before the first cell: RCSB is on loopback.

The hub is redirected by HF_ENDPOINT, as a reader would.
"""


def redirect() -> None:
    import os

    from dlfb.proteins import structures

    structures.RCSB = os.environ["WORLD_RCSB"]


redirect()
del redirect
