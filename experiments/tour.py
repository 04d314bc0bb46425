"""What notebooks/00_tour.ipynb calls: small pictures of one behaviour, computed live.

No nulls and no intervals: the experiments have those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from interp import plots
from interp.activations import capture
from interp.data import sets
from interp.data.splits import split
from interp.directions import Direction
from interp.generation import answers as generated_answers
from interp.interventions import Placement
from interp.models import LoadedModel
from interp.scores import refusal_scores
from interp.sites import Site, all_sites

CLASSES = ("harmful", "harmless")
FIRST_WORDS = 12
N_PICTURES = 12

States = Mapping[Site, Mapping[str, Float[Tensor, "prompt d_model"]]]


def prompts(n: int) -> tuple[list[str], list[str]]:
    """`n` harmful and `n` harmless prompts of the contrast set, no near-duplicates in order."""
    parts = split(sets.contrast_set("refusal"), seed=0)
    positive = [*parts.train.positive, *parts.test.positive]
    negative = [*parts.train.negative, *parts.test.negative]
    return positive[:n], negative[:n]


def answers(model: LoadedModel, texts: Sequence[str], **edits: Sequence[Placement]) -> Figure:
    """Prompts beside the first words of the unedited answer and of the answer under each edit."""
    columns: dict[str, list[str]] = {"prompt": list(texts)}
    for name, edit in {"unedited": (), **edits}.items():
        found = generated_answers(model, list(texts), edit, max_new_tokens=24)
        columns[name] = [" ".join(answer.split()[:FIRST_WORDS]) for answer in found]
    title = "What the model answers" if not edits else f"Answers, unedited and {', '.join(edits)}"
    return plots.answers(
        pd.DataFrame(columns), columns=list(columns), title=title, caption="first words only"
    )


def states(model: LoadedModel, harmful: Sequence[str], harmless: Sequence[str]) -> States:
    """The states of both classes at the last token, at every `pre` and `mid`."""
    sites = all_sites(model.n_layers, ("pre", "mid") if model.info.has_mid else ("pre",))
    found = [capture(model, list(texts), sites=sites)[:, :, 0] for texts in (harmful, harmless)]
    return {
        site: {name: part[:, i] for name, part in zip(CLASSES, found, strict=True)}
        for i, site in enumerate(sites)
    }


def profiles(found: States) -> Figure:
    """Cosine of the class means, mean and maximal variance over layers."""
    rows = []
    for site, classes in found.items():
        means = [part.double().mean(0) for part in classes.values()]
        cosine = float(torch.cosine_similarity(means[0], means[1], dim=0))
        place = {"depth": site.depth, "stream": site.stream}
        rows.append({**place, "panel": "cosine", "group": "both classes", "value": cosine})
        for name, part in classes.items():
            variance = part.double().var(0)
            for panel, value in (("mean", variance.mean()), ("maximum", variance.max())):
                rows.append({**place, "panel": panel, "group": name, "value": float(value)})
    n = len(next(iter(found.values()))["harmful"])
    return plots.profiles(
        pd.DataFrame(rows),
        title="With depth the class means part, and the states spread",
        caption=f"last token of {n} prompts per class",
        y_labels={
            "cosine": "Cosine of\nclass means",
            "mean": "Mean variance",
            "maximum": "Maximal\nvariance",
        },
    )


def pictures(found: States) -> Figure:
    """States of both classes along the class difference and the first other component."""
    sites = [site for site in found if site.stream == "pre" and site.layer]
    chosen = [sites[i] for i in np.linspace(0, len(sites) - 1, N_PICTURES).round().astype(int)]
    rows = []
    for site in chosen:
        classes = found[site]
        pooled = torch.cat(list(classes.values())).double()
        difference = classes["harmful"].double().mean(0) - classes["harmless"].double().mean(0)
        unit = difference / difference.norm()
        centred = pooled - pooled.mean(0)
        along = centred @ unit
        rest = centred - along[:, None] * unit
        other = rest @ torch.linalg.svd(rest, full_matrices=False).Vh[0]
        names = np.repeat(CLASSES, [len(part) for part in classes.values()])
        for name, x, y in zip(names, along.tolist(), other.tolist(), strict=True):
            rows.append({"panel": f"layer {site.layer}", "x": x, "y": y, "group": name})
    return plots.states(
        pd.DataFrame(rows),
        title="The classes come apart layer by layer",
        caption="each panel has its own scale",
        x_label="Along the class difference",
        y_label="First other\ncomponent",
    )


def turn(
    model: LoadedModel,
    direction: Direction,
    harmful: Sequence[str],
    harmless: Sequence[str],
    n_angles: int = 12,
) -> Figure:
    """Refusal odds while states are turned to an angle at the direction's site, as a polar plot.

    The plane is that of the direction and the mean harmless state, so that 90 degrees is where
    states usually are.
    """
    site = direction.site or Site(model.n_layers // 2, "pre")
    towards = capture(model, list(harmless), sites=[site])[:, 0, 0].mean(0)
    rows = []
    for name, texts in zip(CLASSES, (harmful, harmless), strict=True):
        base = refusal_scores(model, list(texts)).opening_odds
        for angle in np.arange(n_angles) * 360 / n_angles:
            edit = [direction.rotate(float(angle), towards, sites=(site,))]
            odds = refusal_scores(model, list(texts), edit).opening_odds
            change = float((odds - base).mean())
            rows.append({"angle": float(angle), "value": change, "group": name})
    table = pd.DataFrame(rows)
    peak = table.groupby("angle")["value"].mean().idxmax()
    return plots.polar(
        table,
        title=f"Refusal is likeliest at {peak:.0f} degrees from the direction",
        caption="radius: change of the refusal odds in nats; dotted: the unedited model; 0 degrees "
        "is the direction, 90 degrees the mean harmless state",
    )
