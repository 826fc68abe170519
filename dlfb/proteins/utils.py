"""Small things that several pages need."""

import torch


def get_device() -> torch.device:
    """Return the fastest device that torch can use here.

    Returns
    -------
    torch.device
        ``cuda`` if there is a GPU, else ``mps`` on an Apple machine, else ``cpu``.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
