"""Proteins whose vectors are near each other (notebook 09).

Functions are passed on among them as in goPredSim (Littmann et al., Scientific Reports 2021).
"""

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from dlfb.utils.checks import check_count, unique_ids


def nearest_neighbours(queries, targets, k: int = 15) -> pd.DataFrame:
    """Find each query's `k` nearest targets by the angle between their vectors.

    `queries` and `targets` are Splits, or DataFrames (N, D) and (M, D) with the proteins' ids as
    index. A target with the query's own id is left out. Standardise the vectors if all dimensions
    are to count alike.

    Returns a row for each pair, the nearest first: ``query``, ``target``, and ``similarity``, a
    weight for :func:`dlfb.proteins.homology.transfer`: the cosine, or 0 where it is negative.
    """
    check_count(k, "k", "nearest_neighbours()")
    (ids, vectors), (target_ids, others) = map(_ids_and_vectors, (queries, targets))
    space = NearestNeighbors(metric="cosine", algorithm="brute").fit(others)
    # One more than wanted, as the query itself may be among them.
    distances, places = space.kneighbors(vectors, n_neighbors=min(k + 1, len(others)))
    pairs = {"query": np.repeat(ids, places.shape[1]), "target": target_ids[places.ravel()]}
    found = pd.DataFrame(pairs | {"similarity": (1 - distances.ravel()).clip(min=0)})
    others_only = found[found["query"] != found["target"]]
    return others_only.groupby("query", sort=False).head(k).reset_index(drop=True)


def _ids_and_vectors(proteins) -> tuple[np.ndarray, np.ndarray]:
    split = hasattr(proteins, "embeddings")
    ids = unique_ids(proteins.ids if split else proteins.index, "nearest_neighbours()")
    return ids.to_numpy(object), np.asarray(proteins.embeddings if split else proteins)
