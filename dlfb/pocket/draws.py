"""Random draws that are the same on any machine and under any NumPy version.

NumPy promises to keep the raw stream of a bit generator, not what its ``Generator`` makes of it.
"""

import math
import zlib

import numpy as np


def draw(rng: np.random.Generator, high, size) -> np.ndarray:
    """Draw integers in ``[0, high)``, the same under any NumPy version.

    Parameters
    ----------
    rng : numpy.random.Generator
        Only its bit generator's raw 64-bit words are used.
    high : int or array
        Upper bounds below 2**32, broadcast against `size`.
    size : int or tuple

    Returns
    -------
    numpy.ndarray
        int64, of shape `size`. The bias, below 2**-20, is of no matter here.
    """
    shape = (size,) if isinstance(size, int) else tuple(size)
    raw = rng.bit_generator.random_raw(math.prod(shape)).reshape(shape)
    return ((raw >> np.uint64(32)) * np.asarray(high, np.uint64) >> np.uint64(32)).astype(np.int64)


def pick(rng: np.random.Generator, high: int) -> int:
    """Draw one integer in ``[0, high)``, as `draw` does."""
    return ((int(rng.bit_generator.random_raw()) >> 32) * high) >> 32


def generator(*entropy: int | str) -> np.random.Generator:
    """Return a generator seeded by integers and names (a name counts by its CRC-32)."""
    words = [zlib.crc32(e.encode()) if isinstance(e, str) else e for e in entropy]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
