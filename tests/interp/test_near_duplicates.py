"""Near-duplicates: their clusters, and text sets without them."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from interp.data import near_duplicates
from interp.data.near_duplicates import (
    near_duplicate_clusters,
    one_per_cluster,
    without_near_duplicates,
)
from interp.data.prompt_sets import text_set
from tests.made_up_texts import sentences, with_twins


def test_clusters_are_connected_components():
    texts = ["red green blue", "grey", "red green blue gold", "green blue gold pink", "grey"]
    labels = near_duplicate_clusters(texts)
    cosine = TfidfVectorizer().fit_transform(texts)
    cosine = (cosine @ cosine.T).toarray()
    assert cosine[0, 3] < 0.6 < min(cosine[0, 2], cosine[2, 3])  # joined by a chain only
    assert labels[0] == labels[2] == labels[3] != labels[1] == labels[4]


def test_clusters_do_not_depend_on_order_or_blocks(monkeypatch):
    texts = with_twins(sentences(20, 0), 3)
    labels = near_duplicate_clusters(texts)
    assert len(set(labels)) == 20
    monkeypatch.setattr(near_duplicates, "_SIMILARITY_ROWS", 7)
    order = np.random.default_rng(0).permutation(len(texts))
    permuted = near_duplicate_clusters([texts[i] for i in order])
    same = labels[:, None] == labels[None, :]
    assert (same[np.ix_(order, order)] == (permuted[:, None] == permuted[None, :])).all()


def test_clusters_of_texts_without_words():
    assert near_duplicate_clusters([]).shape == (0,)
    labels = near_duplicate_clusters(["!!", "??", "!!"])
    assert labels[0] == labels[2] != labels[1]


def test_one_per_cluster_is_drawn_with_the_seed():
    texts = with_twins(sentences(15, 1), 4)
    twins = text_set("x", texts, "", near_duplicate_clusters(texts))
    drawn = [one_per_cluster(twins, seed) for seed in (0, 0, 1)]
    assert len(drawn[0]) == 15
    assert len(set(drawn[0].clusters.tolist())) == 15
    assert drawn[0] == drawn[1] != drawn[2]
    positions = [texts.index(text) for text in drawn[0].texts]
    assert positions == sorted(positions)


def test_test_texts_close_to_training_texts_can_be_left_out():
    base = sentences(10, 2)
    texts = text_set("x", base, "")
    kept = without_near_duplicates(texts, with_twins(base[:3], 1))
    assert kept.texts == tuple(base[3:])
    assert without_near_duplicates(texts, ()) == texts
