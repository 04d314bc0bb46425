"""Edits filed under what they are, and the refusal odds of paired prompts under each of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from experiments.lab.meter import BASE, Edit, Meter
from interp.interventions import Intervention, Placement
from interp.sites import Site

CLASSES = ("harmful", "harmless")
COLUMNS = ["part", "family", "draw", "dose", "site"]
Odds = Float[np.ndarray, "draw pair class dose"]


@dataclass(frozen=True, eq=False)
class Step:
    """One edit to measure: what its scores are filed under, and what is written where.

    `on` is a set of the meter that holds harmful prompts and then as many harmless ones.
    """

    part: str
    family: str
    draw: int
    dose: float
    written: tuple[Placement, ...]
    on: str = "all"

    @property
    def columns(self) -> tuple[object, ...]:
        """Values of COLUMNS, which no other step has; the site is where it is written last."""
        sites = self.written[-1].sites if self.written else None
        return self.part, self.family, self.draw, self.dose, str(sites[0]) if sites else ""

    @property
    def edit(self) -> Edit:
        """Named by the columns."""
        return Edit("/".join(map(str, self.columns)), self.written) if self.written else BASE


def at(site: Site, edit: Intervention) -> tuple[Placement]:
    """An edit written at one site, at every token."""
    return (Placement(edit, (site,)),)


def measured(meter: Meter, steps: Sequence[Step]) -> pd.DataFrame:
    """Refusal odds (nats) of every prompt under every step, and unedited (part "base").

    Columns: COLUMNS, set, prompt (the start of its hash), value. The family of the unedited odds is
    the set of the meter that they are on.
    """
    unedited = [Step("base", on, 0, 0.0, (), on) for on in dict.fromkeys(s.on for s in steps)]
    parts = []
    for step in meter.lab.progress([*unedited, *steps], "editing states"):
        texts = meter.prompts[step.on]
        columns = dict(zip(COLUMNS, step.columns, strict=True))
        columns["set"] = np.repeat(CLASSES, len(texts) // 2)
        columns["prompt"] = [hashlib.sha256(text.encode()).hexdigest()[:10] for text in texts]
        parts.append(pd.DataFrame({**columns, "value": meter.scores(step.on, step.edit)}))
    return pd.concat(parts, ignore_index=True)


def text_kl(meter: Meter, steps: Sequence[Step]) -> pd.DataFrame:
    """KL on text (nats per token) under every step. Columns: dose, kl."""
    found = [(s.dose, meter.text(s.edit)["kl"].mean()) for s in meter.lab.progress(steps, "text")]
    return pd.DataFrame(found, columns=["dose", "kl"])


def answered(meter: Meter, steps: Sequence[Step]) -> pd.DataFrame:
    """Classes of the answers to the meter's set of each class, unedited ("base") and by step."""
    plan = [("base", 0.0, BASE), *((step.family, step.dose, step.edit) for step in steps)]
    rows = [
        (on, family, dose, answer)
        for on in CLASSES if meter.prompts[on]
        for family, dose, edit in meter.lab.progress(plan, "answering")
        for answer in meter.answers(on, edit)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["set", "family", "dose", "answer"])


def odds_of(scores: pd.DataFrame, part: str, family: str) -> Odds:
    """The scores of one family in the order in which they were measured, by draw.

    Class 0 is harmful. A draw's doses may be of several sites.
    """
    rows = scores[(scores.part == part) & (scores.family == family)]
    pairs = rows[rows["set"] == CLASSES[0]].prompt.nunique()
    values = rows.sort_values("draw", kind="stable").value.to_numpy(np.float64)
    return values.reshape(rows.draw.nunique(), -1, 2, pairs).transpose(0, 3, 2, 1)
