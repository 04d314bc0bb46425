"""Splits of contrast sets: asked fractions, drawn with the seed, and no near-duplicate crosses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from interp.data import prompt_sets
from interp.data.splits import Split, Splits, split
from interp.errors import DataError
from tests.made_up_texts import sentences, with_twins


def parts(splits: Splits) -> list[Split]:
    return [splits.train, splits.validation, splits.test]


def make_contrast(n: int, copies: int = 1, seed: int = 0) -> prompt_sets.ContrastSet:
    positive = with_twins(sentences(n, 2 * seed), copies)
    negative = with_twins(sentences(n, 2 * seed + 1), copies)
    return prompt_sets.contrast("made", positive, negative, "")


def test_split_is_a_partition_with_the_asked_fractions():
    contrast = make_contrast(100)
    splits = split(contrast, seed=0)
    assert [len(part.positive) for part in parts(splits)] == [50, 20, 30]
    assert [len(part.negative) for part in parts(splits)] == [50, 20, 30]
    assert sorted(t for part in parts(splits) for t in part.positive) == sorted(contrast.positive)
    assert sorted(t for part in parts(splits) for t in part.negative) == sorted(contrast.negative)


def test_split_is_drawn_with_the_seed():
    contrast = make_contrast(40)
    assert split(contrast, seed=1) == split(contrast, seed=1)
    assert split(contrast, seed=1).test != split(contrast, seed=2).test


@given(
    n=st.integers(10, 40),
    copies=st.integers(1, 4),
    seed=st.integers(0, 1000),
    fractions=st.sampled_from([(0.5, 0.2, 0.3), (0.6, 0.2, 0.2), (0.34, 0.33, 0.33)]),
)
def test_no_near_duplicate_crosses_the_splits(n, copies, seed, fractions):
    contrast = make_contrast(n, copies, seed)
    splits = parts(split(contrast, seed, fractions))
    texts = [t for part in splits for t in (*part.positive, *part.negative)]
    split_of = np.repeat(range(3), [len(p.positive) + len(p.negative) for p in splits])
    vectors = TfidfVectorizer().fit_transform(texts)
    close = (vectors @ vectors.T).toarray() > 0.6
    assert not close[split_of[:, None] != split_of[None, :]].any()
    for part, fraction in zip(splits, fractions, strict=True):
        assert abs(len(part.positive) - fraction * n * copies) <= copies
        assert abs(len(part.negative) - fraction * n * copies) <= copies


def test_near_duplicates_across_the_classes_stay_together():
    base = sentences(30, 5)
    contrast = prompt_sets.contrast(
        "x", [f"{t} kindly" for t in base], [f"{t} rudely" for t in base], ""
    )
    for part in parts(split(contrast, seed=0)):
        stems = [{text.rsplit(" ", 1)[0] for text in c} for c in (part.positive, part.negative)]
        assert stems[0] == stems[1]


def test_pairs_stay_together_and_aligned():
    positive, negative = sentences(30, 6), sentences(30, 7)
    partner = dict(zip(positive, negative, strict=True))
    contrast = prompt_sets.contrast("x", positive, negative, "", paired=True)
    for part in parts(split(contrast, seed=3)):
        assert [partner[text] for text in part.positive] == list(part.negative)


def test_unequal_classes_are_split_each_by_the_fractions():
    contrast = prompt_sets.contrast("x", sentences(100, 8), sentences(10, 9), "")
    splits = parts(split(contrast, seed=0))
    assert [len(part.positive) for part in splits] == [50, 20, 30]
    assert [len(part.negative) for part in splits] == [5, 2, 3]


def test_split_refuses_what_cannot_be_split():
    with pytest.raises(DataError, match=r"9 negative prompts are too few.* at least 10"):
        split(prompt_sets.contrast("x", sentences(20, 0), sentences(9, 1), ""), seed=0)
    alike = prompt_sets.contrast("x", sentences(1, 0) * 20, sentences(10, 1), "")
    with pytest.raises(DataError, match=r"near-duplicates of each other.*\(11 clusters\)"):
        split(alike, seed=0)
    for fractions in [(0.5, 0.2, 0.2), (1.0, 0.0, 0.0)]:
        with pytest.raises(DataError, match="must be positive and sum to 1"):
            split(make_contrast(20), 0, fractions)
