"""Texts of made-up words, near-duplicates of them, and files that hold texts."""

from pathlib import Path

import numpy as np

WORDS = [f"{a}{b}{c}" for a in "bdfglm" for b in "aeiou" for c in "nrstx"]


def sentences(n: int, seed: int, n_words: int = 6) -> list[str]:
    """Distinct sentences of random words: hardly any two are near-duplicates."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, n_words)) + f" number{seed}x{i}" for i in range(n)]


def with_twins(texts: list[str], copies: int) -> list[str]:
    """Each text, followed by variants that differ in the last word."""
    return [f"{text} variant{k}" for text in texts for k in range(copies)]


def write(folder: Path, name: str, content: str) -> Path:
    """A new file with the content, in UTF-8."""
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


VERBS = ("describe", "paint", "count", "measure", "fold", "clean", "sort", "carry", "weigh", "draw")
THINGS = ("stone", "apple", "lamp", "river", "chair", "glove", "bell", "ladder", "spoon", "kite")


def numbered(prefix: str, n: int) -> list[str]:
    """`n` prompts that begin alike and are no near-duplicates."""
    pairs = [f"{prefix} {verb} the {thing}" for verb in VERBS for thing in THINGS]
    return [f"{pair} {index}" for index, pair in enumerate(pairs)][:n]
