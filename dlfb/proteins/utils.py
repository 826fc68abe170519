"""Small things that several pages need."""

import torch


def get_device(device: torch.device | str | None = None) -> torch.device:
    """Return the device asked for, or the fastest: ``cuda`` (a GPU), ``mps`` (Apple) or ``cpu``."""
    if device is None:
        gpu, apple = torch.cuda.is_available(), torch.backends.mps.is_available()
        return torch.device("cuda" if gpu else "mps" if apple else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"This machine has no device {str(device)!r}. Use 'cpu'.") from error
