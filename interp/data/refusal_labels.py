"""Answers of the models themselves, labelled by a reader, to hold the refusal classifier to."""

import csv
from pathlib import Path
from typing import NamedTuple

LABELS = Path(__file__).with_suffix(".csv")
"""First words of the models' own answers, labelled by reading, blind to model and condition."""


class Label(NamedTuple):
    """One answer's first words with the class a reader gave them; `split` says what it is for."""

    model: str
    set: str
    condition: str
    prompt_id: str
    first_words: str
    label: str
    split: str


def labels(*splits: str) -> list[Label]:
    """The committed blind labels, of the named splits or of all.

    development: seen while the rules were written. held_out: labelled before the rules, and not
    used for them. fresh: generated and labelled once the rules stood.
    """
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = [Label(**row) for row in csv.DictReader(file)]
    return [row for row in rows if not splits or row.split in splits]
