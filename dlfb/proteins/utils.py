"""Small things that several pages need."""

import torch


def get_device() -> torch.device:
    """Return the fastest device here: ``cuda`` (a GPU), ``mps`` (an Apple machine) or ``cpu``."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
