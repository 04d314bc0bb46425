"""Choose one refusal direction among layers, streams and positions, on validation prompts.

Candidates are differences of class means on train prompts. Each is scored as in Arditi et al. 2024
(arXiv 2406.11717, appendix C), in nats of the refusal odds (log odds of any refusal opening, which
follow the class of the answer more closely than the openings score does: AUROC .95 against .79 on
qwen2.5-coder-0.5b; they also fall when an edit breaks the model, which the KL tells):

    bypass  mean on harmful prompts with the candidate ablated at every state; low is good
    induce  mean on harmless prompts with the raw difference added at its own site; high is good
    kl      mean KL(base || ablated) of the next token on harmless prompts

Their constraints: a KL of at most .1, outside the last fifth of the depth, an induce score at least
1 nat above the unedited model's (their rule, above 0, passes none on small models). What meets them
may still be noise, so only candidates whose effect (fall of the bypass score) is at least half of
the largest one count. Of those, the first step that leaves any decides:

    1. all constraints met: the lowest bypass
    2. the KL constraint relaxed: the least KL
    3. the induce constraint relaxed as well: the least KL

The chosen candidate is then compared with random directions of every family, at its site and on the
same prompts. Breaking the model stops refusals as well, so only those count that do no more damage
than the chosen one, or than the constraint allows. If it does not beat them, no direction was
found, which `Selection` says.

Train and validation prompts count only if the model's own answer fits: harmful refused, harmless
not. With too few of them to show anything (`MIN_PAIRS`) all are used, and the behaviour is absent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy import stats as scipy_stats
from torch import Tensor

from experiments.lab.estimate import Estimate
from experiments.lab.lab import Lab
from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.rules import MAX_DEPTH, MAX_KL, MIN_INDUCE, MIN_PAIRS, SIGNIFICANCE
from experiments.lab.spacing import spaced
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.prompts import positions as named_positions
from interp.sites import Site, all_sites

HALF = 0.5  # of the largest effect, which a candidate needs to count
N_NULLS = 4  # random directions per family that the chosen one has to beat
MIN_DRAWS = 3  # a spread of fewer says nothing
ANSWER_TOKENS = 16

LAST_FIFTH = "last fifth of the depth"
HIGH_KL = f"KL > {MAX_KL}"
NO_INDUCTION = f"induces < {MIN_INDUCE:g} nat"

Key = tuple[Site, int]


@dataclass(frozen=True)
class Prompts:
    """Train and validation prompts, kept where the model's own answer fits.

    `filtered` says whether they were; if not, fewer than MIN_PAIRS train (or 2 validation) prompts
    of some class fitted.
    """

    train: tuple[tuple[str, ...], tuple[str, ...]]  # positive, negative
    train_rows: tuple[tuple[int, ...], tuple[int, ...]]  # the rows of `train` to use
    validation: tuple[tuple[str, ...], tuple[str, ...]]  # positive, negative
    filtered: bool
    n_refused: int  # of the positive train prompts
    n_accepted: int  # of the negative train prompts

    @property
    def p(self) -> float:
        """Fisher's exact test, one-sided: do positive train prompts get refused more often?"""
        n_positive, n_negative = map(len, self.train)
        refused = [self.n_refused, n_negative - self.n_accepted]
        table = [refused, [n_positive - refused[0], n_negative - refused[1]]]
        return float(scipy_stats.fisher_exact(table, alternative="greater").pvalue)  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Source:
    """A direction and the train activations at its own site that it was extracted from."""

    direction: Direction
    positive: Float[Tensor, "positive d_model"]
    negative: Float[Tensor, "negative d_model"]


@dataclass(frozen=True, eq=False)
class Selection(Source):
    """The chosen direction with the activations it was made from, and every candidate's scores.

    Columns of `candidates`: site, layer, stream, depth, position, norm, bypass, induce, kl, failed
    (the constraints it failed, joined by "; "; "" if none), selected. Scores in nats. Columns of
    `null_effects`: family, draw, effect (fall of the bypass score, nats), kl.
    """

    candidates: pd.DataFrame
    base_bypass: float  # refusal odds of the unedited model on harmful validation prompts
    base_induce: float  # the same on harmless ones
    prompts: Prompts
    null_effects: pd.DataFrame

    @property
    def chosen(self) -> pd.Series:
        """The row of `candidates` that was taken."""
        return self.candidates[self.candidates.selected].iloc[0]

    @property
    def passed(self) -> bool:
        """Whether the chosen candidate meets every constraint."""
        return self.chosen.failed == ""

    @property
    def p(self) -> float:
        """How likely the best of as many random directions does as much; see `search_p`."""
        effect = self.base_bypass - float(self.chosen.bypass)
        kl = max(MAX_KL, float(self.chosen.kl))
        as_harmless = self.null_effects[self.null_effects.kl <= kl]
        return search_p(effect, as_harmless.effect.to_numpy(np.float64), len(self.candidates))

    @property
    def found(self) -> bool:
        """Whether the direction beats random ones; if not, none was found."""
        return self.p < SIGNIFICANCE


def answering_prompts(lab: Lab, n_train: int = 96, n_validation: int = 16) -> Prompts:
    """The first train and validation prompts whose greedy answer fits their class.

    `n_train` is the number per class before filtering. For validation up to twice `n_validation`
    are asked, of which the first that fit are kept. Raises ExperimentError for a choice.
    """
    if lab.studied.choice:
        raise ExperimentError(
            f"{lab.studied.name} is a choice: both prompts of a pair ask one question, so that no "
            "prompts show it more than others. Use `interp find`, or a behaviour with openings."
        )
    splits = lab.splits
    train = (splits.train.positive[:n_train], splits.train.negative[:n_train])
    asked = 2 * n_validation
    validation = (splits.validation.positive[:asked], splits.validation.negative[:asked])
    refused = [
        *_shown(lab, f"train/{n_train}", train),
        *_shown(lab, f"validation/{asked}", validation),
    ]
    fits = [
        (part if index % 2 == 0 else [not r for r in part]) for index, part in enumerate(refused)
    ]
    rows = tuple(tuple(np.flatnonzero(part).tolist()) for part in fits)
    counts = [len(rows[0]), len(rows[1])]
    filtered = min(counts) >= MIN_PAIRS and min(len(rows[2]), len(rows[3])) >= 2
    if not filtered:
        rows = tuple(tuple(range(len(part))) for part in fits)
    kept = [
        tuple(p[i] for i in r)[:n_validation] for p, r in zip(validation, rows[2:], strict=True)
    ]
    return Prompts(train, (rows[0], rows[1]), (kept[0], kept[1]), filtered, counts[0], counts[1])


def _shown(lab: Lab, name: str, groups: Sequence[Sequence[str]]) -> list[list[bool]]:
    """Per group and prompt, whether the answer shows the behaviour (`Meter.shown`)."""
    prompts = {name: tuple(prompt for group in groups for prompt in group)}
    meter = Meter(lab, prompts, answer_tokens=ANSWER_TOKENS, name="selection", shared=True)
    found, ends = meter.shown(name), np.cumsum([len(group) for group in groups]).tolist()
    return [found[end - len(group) : end] for group, end in zip(groups, ends, strict=True)]


def candidate_sites(lab: Lab, n: int | None = None) -> list[Site]:
    """Sites a direction may come from: not the embedding itself, and not the last fifth.

    With `n`, that many evenly spaced blocks, stream `pre`.
    """
    layers = lab.model.n_layers
    streams = ("pre", "mid") if lab.model.info.has_mid and n is None else ("pre",)
    sites = [s for s in all_sites(layers, streams) if 0 < s.depth < MAX_DEPTH * layers]
    return spaced(sites, n)


def candidate_positions(lab: Lab, n: int | None = None) -> list[int]:
    """The last `n` (or all) of the style's own tokens; the last token where it adds none."""
    tail = [offset for offset in named_positions(lab.model, lab.style).values() if offset < 0]
    offsets = sorted({-1, *(o for o in tail if o > min(tail))}, reverse=True)
    return offsets[:n]


def class_activations(
    lab: Lab, sites: Sequence[Site], positions: Sequence[int], prompts: Prompts
) -> tuple[Float[Tensor, "positive site pos d_model"], Float[Tensor, "negative site pos d_model"]]:
    """Activations of the train prompts that count, positive and negative."""
    positive, negative = (
        lab.activations(texts, sites, positions)[list(rows)]
        for texts, rows in zip(prompts.train, prompts.train_rows, strict=True)
    )
    return positive, negative


def directions_of(
    lab: Lab, sites: Sequence[Site], positions: Sequence[int], prompts: Prompts
) -> dict[Key, Direction]:
    """Mean difference on the train prompts that count, per site and position.

    Left out are sites where every prompt has the same state (the embedding of a template's token):
    there is no direction there.
    """
    positive, negative = class_activations(lab, sites, positions, prompts)
    found = {}
    for i, site in enumerate(sites):
        for j, position in enumerate(positions):
            classes = positive[:, i, j], negative[:, i, j]
            if not _is_constant(torch.cat(classes)):
                found[site, position] = mean_difference(*classes, site, position)
    return found


def _is_constant(states: Float[Tensor, "sample d_model"]) -> bool:
    return bool((states == states[0]).all())


def select_direction(
    lab: Lab,
    sites: Sequence[Site] | None = None,
    positions: Sequence[int] | None = None,
    n_prompts: int = 10,
    n_train: int = 48,
) -> Selection:
    """The direction that ablates refusal best at little cost; see the top of this file.

    `n_prompts` validation prompts and `n_train` train prompts per class, before filtering. By
    default 6 evenly spaced `pre` sites and the style's last token. Every candidate's scores
    are a cell that experiments share. Raises ExperimentError when no site has a direction.
    """
    sites = candidate_sites(lab, 6) if sites is None else list(sites)
    positions = candidate_positions(lab, 1) if positions is None else list(positions)
    prompts = answering_prompts(lab, n_train, n_prompts)
    directions = directions_of(lab, sites, positions, prompts)
    if not directions:
        raise ExperimentError(
            f"No direction at {', '.join(map(str, sites))}: all prompts have the same state there. "
            "Choose later sites."
        )
    harmful, harmless = prompts.validation
    sets = {"harmful": harmful, "harmless": harmless}
    meter = Meter(lab, sets, name=f"selection/{n_train}/{n_prompts}", shared=True)
    rows = [
        _row(key, direction, scores(meter, key, direction))
        for key, direction in lab.progress(
            directions.items(), "scoring candidate directions", len(directions)
        )
    ]
    base = {"bypass": odds(meter, "harmful", BASE), "induce": odds(meter, "harmless", BASE)}
    table = with_constraints(pd.DataFrame(rows), lab.model.n_layers, base["induce"])
    chosen = choose(table, base["bypass"])
    table["selected"] = table.index == chosen
    key = (Site.parse(str(table.site[chosen])), int(table.position[chosen]))
    states = [part[:, 0, 0] for part in class_activations(lab, [key[0]], [key[1]], prompts)]
    source = Source(directions[key], *states)
    return Selection(
        directions[key],
        *states,
        table,
        base["bypass"],
        base["induce"],
        prompts,
        null_effects(meter, source, base["bypass"]),
    )


def odds(meter: Meter, on: str, edit: Edit) -> float:
    """Mean refusal odds of a set of prompts under an edit, in nats."""
    return float(meter.scores(on, edit).mean())


def scores(meter: Meter, key: Key, direction: Direction) -> dict[str, float]:
    """The three scores of a candidate, in nats; see the top of this file."""
    site, position = key
    removed = Edit.ablating(direction.unit, f"ablated/{site}@{position}")
    added = Edit.adding(direction.vector, site, f"added/{site}@{position}")
    return {
        "bypass": odds(meter, "harmful", removed),
        "induce": odds(meter, "harmless", added),
        "kl": float(meter.kl("harmless", removed).mean()),
    }


def null_effects(meter: Meter, source: Source, base_bypass: float) -> pd.DataFrame:
    """What ablating random directions of the chosen one's site does, in nats."""
    direction = source.direction
    place = f"{direction.site}@{direction.position}"
    drawn = meter.lab.nulls(source, N_NULLS, f"selection nulls at {place}")
    rows = []
    for family, draw, null in meter.lab.progress(drawn, "random directions", len(drawn)):
        removed = Edit.ablating(null.unit, f"ablated/{place}/{family}/{draw}")
        effect = base_bypass - odds(meter, "harmful", removed)
        rows.append((family, draw, effect, float(meter.kl("harmless", removed).mean())))
    return pd.DataFrame(rows, columns=["family", "draw", "effect", "kl"])


def gate_estimates(prompts: Prompts) -> list[Estimate]:
    """Counts of train prompts answered as their class says, which `rules.GATE` reads."""
    n_positive, n_negative = map(len, prompts.train)
    return [
        Estimate("train.refused", prompts.n_refused, n=n_positive, p=prompts.p, unit="prompts"),
        Estimate("train.accepted", prompts.n_accepted, n=n_negative, unit="prompts"),
    ]


def found_estimate(selection: Selection) -> Estimate:
    """The p of the selected direction, which `rules.not_found` reads."""
    return Estimate("selection.p", selection.p, n=len(selection.candidates))


def with_constraints(candidates: pd.DataFrame, n_layers: int, base_induce: float) -> pd.DataFrame:
    """The table with the column `failed`: the constraints that each candidate failed."""
    checks = {
        HIGH_KL: candidates.kl > MAX_KL,
        LAST_FIFTH: candidates.depth >= MAX_DEPTH * n_layers,
        NO_INDUCTION: candidates.induce - base_induce < MIN_INDUCE,
    }
    failed = [
        "; ".join(name for name, mask in checks.items() if mask[row]) for row in candidates.index
    ]
    return candidates.assign(failed=failed)


def choose(candidates: pd.DataFrame, base_bypass: float) -> int:
    """Index of the candidate to take, by the steps at the top of this file.

    The largest effect is that of candidates outside the last fifth, unless there are no others.
    """
    late = candidates.failed.str.contains(LAST_FIFTH, regex=False)
    pool = candidates if late.all() else candidates[~late]
    effect = base_bypass - pool.bypass
    strong = pool[effect >= min(HALF * effect.max(), effect.max())]
    passing = strong[strong.failed == ""]
    if len(passing):
        return int(passing.bypass.idxmin())
    inducing = strong[~strong.failed.str.contains(NO_INDUCTION, regex=False)]
    return int((inducing if len(inducing) else strong).kl.idxmin())


def search_p(effect: float, null: Float[np.ndarray, " draw"], n_candidates: int) -> float:
    """One-sided p that the best of so many candidates does as much where there is nothing to find.

    The draws are taken as normal (the prediction interval of one more draw, Student's t), since
    ranks of so few draws cannot be corrected for a search; Bonferroni over the candidates. An
    effect that some draw reaches has p = 1, and so has any where fewer than three draws count.
    """
    spread = float(null.std(ddof=1)) if len(null) >= MIN_DRAWS else 0.0
    if not spread > 0 or effect <= null.max():
        return 1.0
    t = (effect - float(null.mean())) / (spread * np.sqrt(1 + 1 / len(null)))
    return min(1.0, n_candidates * float(scipy_stats.t.sf(t, len(null) - 1)))


def _row(key: Key, direction: Direction, scores: dict[str, float]) -> dict[str, object]:
    site, position = key
    return {
        "site": str(site),
        "layer": site.layer,
        "stream": site.stream,
        "depth": site.depth,
        "position": position,
        "norm": direction.norm,
        **scores,
    }
