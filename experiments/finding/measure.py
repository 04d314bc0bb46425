"""What candidate, chosen and random directions do to the score of a behaviour, in nats."""

import hashlib
from collections.abc import Iterator, Sequence

import pandas as pd

from experiments.lab.lab import Lab
from experiments.lab.passages import Passages
from experiments.lab.scale import Scale, Scores
from experiments.lab.selection import Source
from interp.directions import Direction
from interp.sites import Site

from .protocol import BREAKING, COEFFICIENTS, NEAR_BEST, Config

TEXT_TOKENS = 32


def scale_of(lab: Lab, config: Config, name: str) -> Scale:
    """The first prompts of a split ("validation" or "test"), and passages of text."""
    n = {"validation": config.n_validation, "test": config.n_test}[name]
    texts = lab.text
    drawn = lab.rng("finding.text").permutation(len(texts))[: config.n_text]
    passages = Passages(lab.model, tuple(texts[int(i)] for i in drawn), TEXT_TOKENS)
    return Scale.of(lab, name, n, passages)


def candidates(scale: Scale, found: Sequence[Source]) -> pd.DataFrame:
    """Scores of every candidate. Columns: site, depth, removed, brought, effect, kl, chosen."""
    rows = []
    for source in scale.meter.lab.progress(found, "scoring candidate directions"):
        direction, site = source.direction, str(source.direction.site)
        removed = float(scale.removed(site, direction).mean())
        brought = float(scale.brought(site, direction).mean())
        kl = scale.damage(f"ablated/{site}", direction.ablate())
        rows.append((site, Site.parse(site).depth, removed, brought, (removed + brought) / 2, kl))
    columns = ["site", "depth", "removed", "brought", "effect", "kl"]
    table = pd.DataFrame(rows, columns=columns)
    whole = table[table.kl <= BREAKING] if (table.kl <= BREAKING).any() else table
    best = whole.effect.max()
    strong = whole[whole.effect >= min(NEAR_BEST * best, best)]
    return table.assign(chosen=table.index == strong.kl.idxmin())


def effects(
    scale: Scale, directions: Sequence[tuple[str, int, Direction]], what: str
) -> pd.DataFrame:
    """Effect of directions, per prompt. Columns: family, draw, edit, prompt (id), value."""
    parts = []
    for family, draw, one in scale.meter.lab.progress(directions, what):
        for edit, side, values in _both(scale, f"{family}/{draw}", one):
            ids = [_id(text) for text in scale.meter.prompts[side]]
            parts.append(
                pd.DataFrame(
                    {"family": family, "draw": draw, "edit": edit, "prompt": ids, "value": values}
                )
            )
    return pd.concat(parts, ignore_index=True)


def _both(scale: Scale, name: str, one: Direction) -> Iterator[tuple[str, str, Scores]]:
    yield "removed", "positive", scale.removed(name, one)
    yield "brought", "negative", scale.brought(name, one)


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def doses(scale: Scale, direction: Direction) -> pd.DataFrame:
    """The score where the behaviour does not show while the direction is added, and the damage.

    Columns: coefficient, score (mean, nats), kl (nats per token of text).
    """
    base = float(scale.scores("negative").mean())
    rows = [(0.0, base, 0.0)]
    for c in scale.meter.lab.progress(COEFFICIENTS, "doses"):
        rise = float(scale.brought("real/0", direction, c).mean())
        rows.append((c, base + rise, scale.damage(f"added/{c:g}", direction.add(c))))
    return pd.DataFrame(sorted(rows), columns=["coefficient", "score", "kl"])
