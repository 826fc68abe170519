"""What the first cell of a page calls, so that a hosted notebook uses its GPU."""

import os
import subprocess

from dlfb.utils.context import use_edition

#: Environment variables that Colab and Kaggle set.
HOSTS = ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")


def prepare() -> None:
    """Choose the full edition on a hosted notebook that has a GPU, unless the reader has chosen."""
    hosted = any(name in os.environ for name in HOSTS)
    if not hosted or os.environ.get("DLFB_EDITION") or not _has_gpu():
        return
    use_edition("full")
    # Otherwise JAX reserves most of the GPU at its first step and leaves none for torch.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    print("This notebook has a GPU: the full edition is used, unless DLFB_EDITION says pocket.")


def _has_gpu() -> bool:
    """Ask NVIDIA's own tool, which is quick and sets up neither torch nor jax."""
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
