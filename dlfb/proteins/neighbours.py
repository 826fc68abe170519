"""Proteins whose vectors are near each other (notebook 09).

References
----------
.. [1] Littmann et al. Scientific Reports 11, 1160 (2021). (goPredSim: functions passed on from
   the nearest proteins in the space of a language model)
"""

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from dlfb.utils.checks import check_count, unique_ids


def nearest_neighbours(queries, targets, k: int = 15, metric: str = "cosine") -> pd.DataFrame:
    """Find each query's `k` nearest targets in the space of their vectors [1]_.

    Parameters
    ----------
    queries, targets : Split or DataFrame of shapes (N, D) and (M, D)
        Vectors of proteins; a DataFrame has their ids as index. A target with the query's own id
        is left out. Standardise the vectors if all dimensions are to count alike.
    k : int
        How many, if there are so many targets.
    metric : {"cosine", "euclidean"}
        The angle between two vectors, or the distance of their ends.

    Returns
    -------
    DataFrame
        A row for each pair, the nearest first: ``query``, ``target``, ``distance``, and
        ``similarity`` from 0 to 1, a weight for :func:`dlfb.proteins.homology.transfer`: the
        cosine, 0 where it is negative; or 1 / (1 + distance).
    """
    check_count(k, "k", "nearest_neighbours()")
    if metric not in ("cosine", "euclidean"):
        raise ValueError(
            f"nearest_neighbours(): metric={metric!r}; choose 'cosine' or 'euclidean'."
        )
    (ids, vectors), (target_ids, others) = map(_ids_and_vectors, (queries, targets))
    space = NearestNeighbors(metric=metric, algorithm="brute").fit(others)
    # One more than wanted, as the query itself may be among them.
    distances, places = space.kneighbors(vectors, n_neighbors=min(k + 1, len(others)))
    pairs = {"query": np.repeat(ids, places.shape[1]), "target": target_ids[places.ravel()]}
    found = pd.DataFrame(pairs | {"distance": distances.ravel()})
    near = found["distance"]
    found["similarity"] = (1 - near).clip(lower=0) if metric == "cosine" else 1 / (1 + near)
    others_only = found[found["query"] != found["target"]]
    return others_only.groupby("query", sort=False).head(k).reset_index(drop=True)


def _ids_and_vectors(proteins) -> tuple[np.ndarray, np.ndarray]:
    split = hasattr(proteins, "embeddings")
    ids = unique_ids(proteins.ids if split else proteins.index, "nearest_neighbours()")
    return ids.to_numpy(object), np.asarray(proteins.embeddings if split else proteins)
