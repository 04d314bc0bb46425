"""Near-duplicates, texts that share most of their words: their clusters, and sets without them."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Int
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer

from interp.data.prompt_sets import TextSet, text_set

NEAR_DUPLICATE_COSINE = 0.6
_SIMILARITY_ROWS = 1024


def _unit_vectors(texts: Sequence[str]) -> sparse.csr_matrix:
    """TF-IDF vectors of unit length over words of two letters or more, [sample, word]."""
    vectoriser = TfidfVectorizer()
    if not any(map(vectoriser.build_analyzer(), texts)):  # no text has a word at all
        return sparse.csr_matrix((len(texts), 1))
    return sparse.csr_matrix(vectoriser.fit_transform(texts))


def _similar(texts: Sequence[str], threshold: float) -> sparse.csr_matrix:
    """Boolean matrix of the pairs of texts with a TF-IDF cosine above the threshold."""
    vectors = _unit_vectors(texts)
    # Row blocks, since the product of 10,000 texts with themselves would fill the memory.
    blocks = [
        vectors[start : start + _SIMILARITY_ROWS] @ vectors.T > threshold
        for start in range(0, len(texts), _SIMILARITY_ROWS)
    ]
    return sparse.csr_matrix(sparse.vstack(blocks))


def near_duplicate_clusters(
    texts: Sequence[str], threshold: float = NEAR_DUPLICATE_COSINE
) -> Int[np.ndarray, "sample"]:
    """The cluster number of each text: connected components of TF-IDF cosine > threshold.

    Words are weighted by their rarity within `texts` alone. Equal texts always share a cluster.
    """
    if not texts:
        return np.zeros(0, dtype=np.int64)
    unique, index = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True)
    _, labels = connected_components(_similar(list(unique), threshold), directed=False)
    return labels[index].astype(np.int64)


def one_per_cluster(texts: TextSet, seed: int) -> TextSet:
    """One text of each near-duplicate cluster, drawn with the seed; in the original order."""
    order = np.random.default_rng(seed).permutation(len(texts))
    _, first = np.unique(texts.clusters[order], return_index=True)
    return _subset(texts, np.sort(order[first]))


def without_near_duplicates(
    texts: TextSet, of: Sequence[str], threshold: float = NEAR_DUPLICATE_COSINE
) -> TextSet:
    """The texts that have no near-duplicate in `of`: test prompts that training has not seen."""
    if not of:
        return texts
    similar = _similar([*texts.texts, *of], threshold)[: len(texts), len(texts) :]
    keep = np.asarray(similar.sum(axis=1)).ravel() == 0
    return _subset(texts, np.flatnonzero(keep))


def _subset(texts: TextSet, keep: Int[np.ndarray, "kept"]) -> TextSet:
    chosen = [texts.texts[i] for i in keep]
    return text_set(texts.name, chosen, texts.licence, texts.clusters[keep])
