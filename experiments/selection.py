"""Choose one refusal direction among layers, streams and positions, on validation prompts.

Candidates are differences of class means on train prompts. Each is scored as in Arditi et al. 2024
(arXiv 2406.11717, appendix C), in nats of the openings score (log probability of refusing openings
minus that of complying ones):

    bypass  mean on harmful prompts with the candidate ablated at every state; low is good
    induce  mean on harmless prompts with the raw difference added at its own site; high is good
    kl      mean KL(base || ablated) of the next token on harmless prompts

Dropped are candidates with a KL above .1, in the last fifth of the depth, or whose induce score is
not at least 1 nat above the unedited model's (their rule, above 0, passes none on small models).
The lowest bypass wins. If none passes, the lowest bypass with a KL of at most .1 is taken, or the
lowest KL, and every candidate is listed with the constraint that it failed.

Train and validation prompts count only if the model's own answer fits: harmful refused, harmless
not.
With fewer than 30 refused, or 30 accepted, train prompts the behaviour is absent: all are used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from experiments.lab import Lab
from experiments.spacing import spaced
from interp.directions import Direction, mean_difference
from interp.errors import ExperimentError
from interp.forward import readout
from interp.interventions import Add, Placement, ablate
from interp.prompts import positions as named_positions
from interp.scores import answers, classify, kl_divergence, refusal_scores
from interp.sites import Site, all_sites, everywhere

MAX_KL = 0.1  # nats, next token on harmless prompts
MAX_DEPTH = 0.8  # share of the blocks; the rest is the last fifth
MIN_INDUCE = 1.0  # nats above the unedited model
MIN_CLASS = 30  # train prompts whose answer fits, per class
ANSWER_TOKENS = 24

Key = tuple[Site, int]


@dataclass(frozen=True)
class Prompts:
    """Train and validation prompts, kept where the model's own answer fits.

    `filtered` says whether they were; if not, fewer than 30 train (or 2 validation) prompts of some
    class fitted.
    """

    train: tuple[tuple[str, ...], tuple[str, ...]]  # positive, negative
    train_rows: tuple[tuple[int, ...], tuple[int, ...]]  # the rows of `train` to use
    validation: tuple[tuple[str, ...], tuple[str, ...]]  # positive, negative
    filtered: bool
    n_refused: int  # of the positive train prompts
    n_accepted: int  # of the negative train prompts


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen direction, and every candidate with its scores.

    Columns of `candidates`: site, layer, stream, depth, position, norm, bypass, induce, kl, failed
    (the constraints it failed, joined by "; "; "" if none), selected. Scores in nats.
    """

    direction: Direction
    candidates: pd.DataFrame
    base_bypass: float  # openings score of the unedited model on harmful validation prompts
    base_induce: float  # the same on harmless ones
    passed: bool  # the chosen candidate met every constraint
    prompts: Prompts


def answering_prompts(lab: Lab, n_train: int = 96, n_validation: int = 16) -> Prompts:
    """The first train and validation prompts whose greedy answer fits their class.

    `n_train` is the number per class before filtering. For validation up to twice `n_validation`
    are asked, of which the first that fit are kept.
    """
    splits = lab.splits
    train = (splits.train.positive[:n_train], splits.train.negative[:n_train])
    asked = 2 * n_validation
    validation = (splits.validation.positive[:asked], splits.validation.negative[:asked])
    refused = [
        *lab.shared(f"selection/answers/train/{n_train}", lambda: _refused(lab, train)),
        *lab.shared(f"selection/answers/validation/{asked}", lambda: _refused(lab, validation)),
    ]
    fits = [
        (part if index % 2 == 0 else [not r for r in part]) for index, part in enumerate(refused)
    ]
    rows = tuple(tuple(np.flatnonzero(part).tolist()) for part in fits)
    counts = [len(rows[0]), len(rows[1])]
    filtered = min(counts) >= MIN_CLASS and min(len(rows[2]), len(rows[3])) >= 2
    if not filtered:
        rows = tuple(tuple(range(len(part))) for part in fits)
    kept = [
        tuple(p[i] for i in r)[:n_validation] for p, r in zip(validation, rows[2:], strict=True)
    ]
    return Prompts(train, (rows[0], rows[1]), (kept[0], kept[1]), filtered, counts[0], counts[1])


def _refused(lab: Lab, groups: Sequence[Sequence[str]]) -> list[list[bool]]:
    """Per group and prompt, whether the greedy answer is a refusal."""
    prompts = [prompt for group in groups for prompt in group]
    found = [
        classify(a) == "refused" for a in answers(lab.model, lab.tokens(prompts), ANSWER_TOKENS)
    ]
    ends = np.cumsum([len(group) for group in groups]).tolist()
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


def train_directions(
    lab: Lab, sites: Sequence[Site], positions: Sequence[int], n: int = 96
) -> dict[Key, Direction]:
    """Mean difference on the first `n` train prompts per class that count, per site and position.

    Left out are sites where every prompt has the same state (the embedding of a template's token):
    there is no direction there.
    """
    return directions_of(lab, sites, positions, answering_prompts(lab, n))


def directions_of(
    lab: Lab, sites: Sequence[Site], positions: Sequence[int], prompts: Prompts
) -> dict[Key, Direction]:
    """As `train_directions`, on prompts already chosen."""
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
    n_prompts: int = 12,
    n_train: int = 72,
) -> Selection:
    """The direction that ablates refusal best at little cost; see the top of this file.

    `n_prompts` validation prompts and `n_train` train prompts per class, before filtering. By
    default 8 evenly spaced `pre` sites and the style's last two tokens. Every candidate's scores
    are a cell that experiments share. Raises ExperimentError when no site has a direction.
    """
    sites = candidate_sites(lab, 8) if sites is None else list(sites)
    positions = candidate_positions(lab, 2) if positions is None else list(positions)
    prompts = answering_prompts(lab, n_train, n_prompts)
    directions = directions_of(lab, sites, positions, prompts)
    if not directions:
        raise ExperimentError(
            f"No direction at {', '.join(map(str, sites))}: all prompts have the same state there. "
            "Choose later sites."
        )
    bench = _Bench(lab, prompts, f"{n_train}/{n_prompts}")
    rows = [
        _row(key, direction, bench.scores(key, direction))
        for key, direction in lab.progress(
            directions.items(), "scoring candidate directions", len(directions)
        )
    ]
    table = with_constraints(pd.DataFrame(rows), lab.model.n_layers, bench.base["induce"])
    chosen = choose(table)
    table["selected"] = table.index == chosen
    key = (Site.parse(str(table.site[chosen])), int(table.position[chosen]))
    return Selection(
        directions[key],
        table,
        bench.base["bypass"],
        bench.base["induce"],
        table.failed[chosen] == "",
        prompts,
    )


def with_constraints(candidates: pd.DataFrame, n_layers: int, base_induce: float) -> pd.DataFrame:
    """The table with the column `failed`: the constraints that each candidate failed."""
    checks = {
        f"KL > {MAX_KL}": candidates.kl > MAX_KL,
        "last fifth of the depth": candidates.depth >= MAX_DEPTH * n_layers,
        f"induces < {MIN_INDUCE:g} nat": candidates.induce - base_induce < MIN_INDUCE,
    }
    failed = [
        "; ".join(name for name, mask in checks.items() if mask[row]) for row in candidates.index
    ]
    return candidates.assign(failed=failed)


def choose(candidates: pd.DataFrame) -> int:
    """Index of the candidate to take: lowest bypass of those that meet the constraints.

    If none does: lowest bypass of those with an acceptable KL; if none has: lowest KL.
    """
    passing = candidates[candidates.failed == ""]
    acceptable = candidates[candidates.kl <= MAX_KL]
    for allowed in (passing, acceptable):
        if len(allowed):
            return int(allowed.bypass.idxmin())
    return int(candidates.kl.idxmin())


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


@dataclass(frozen=True, eq=False)
class _Bench:
    """Scores candidates on the validation prompts; every score is a cell."""

    lab: Lab
    prompts: Prompts
    sizes: str

    @cached_property
    def base(self) -> dict[str, float]:
        """Openings scores of the unedited model, {bypass: on harmful, induce: on harmless}."""
        harmful, harmless = (self.lab.tokens(texts) for texts in self.prompts.validation)
        return self.lab.shared(
            f"selection/{self.sizes}/base",
            lambda: {
                "bypass": float(refusal_scores(self.lab.model, harmful).openings.mean()),
                "induce": float(refusal_scores(self.lab.model, harmless).openings.mean()),
            },
        )

    @cached_property
    def base_log_probs(self) -> Float[Tensor, "sample vocab"]:
        harmless = self.lab.tokens(self.prompts.validation[1])
        return readout(self.lab.model, harmless).log_probs

    def scores(self, key: Key, direction: Direction) -> dict[str, float]:
        site, position = key
        return self.lab.shared(
            f"selection/{self.sizes}/{site}@{position}", lambda: self._measure(site, direction)
        )

    def _measure(self, site: Site, direction: Direction) -> dict[str, float]:
        model = self.lab.model
        harmful, harmless = (self.lab.tokens(texts) for texts in self.prompts.validation)
        states = tuple(everywhere(model.n_layers, model.info.has_mid))
        removed = [Placement(ablate(direction.unit), states)]
        added = [Placement(Add(direction.vector), (site,))]
        ablated = readout(model, harmless, removed).log_probs
        return {
            "bypass": float(refusal_scores(model, harmful, removed).openings.mean()),
            "induce": float(refusal_scores(model, harmless, added).openings.mean()),
            "kl": float(kl_divergence(self.base_log_probs, ablated).mean()),
        }
