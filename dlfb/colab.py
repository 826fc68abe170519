"""What the first cell of a page calls on a hosted notebook, once it has installed dlfb there."""

import os
import subprocess

from dlfb.utils.context import provisioned_dir


def prepare() -> None:
    """Choose a hosted notebook's edition: full where there is a GPU, with its files, else pocket.

    The choice stands in the environment variable ``DLFB_EDITION``, so that later
    processes agree. A reader who has set it, or ``DLFB_ASSETS``, has chosen
    already. Files that are there are not fetched again; if they can't be had, a
    sentence says why, and the pocket edition stays.
    """
    if os.environ.get("DLFB_EDITION") or os.environ.get("DLFB_ASSETS") or not _has_gpu():
        return
    if failures := _provision():
        print(f"The pages stay with the pocket edition, as the full one can't be had: {failures}")
        return
    os.environ["DLFB_EDITION"] = "full"
    # Else JAX reserves most of the GPU at its first step, and torch, on the same page, has none.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    print(
        "This notebook has a GPU, so its page runs on the full edition: real proteins, and ESM2. "
        "Set the environment variable DLFB_EDITION to pocket before this cell for the other one."
    )


def _has_gpu() -> bool:
    """Ask NVIDIA's own tool, which is quick and sets up neither torch nor jax."""
    try:
        asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def _provision() -> str:
    """Get the full edition's files where some are missing; return what went wrong, if it did."""
    from dlfb.provision import provision
    from dlfb.provision.manifest import REQUIRED

    def missing() -> list[str]:
        return [name for name in REQUIRED if not (provisioned_dir() / name).is_file()]

    failures = []
    for source in ("book", "uniprot"):  # hosts vanish: without the book's, the data are built anew
        if missing():
            try:
                provision(source)
            except (ValueError, OSError) as error:
                failures.append(" ".join(str(error).split()))
    return " ".join(failures or ["Neither source has all files."]) if missing() else ""
