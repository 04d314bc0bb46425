"""What a linear probe reads off the states of the last token."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.lab.lab import Lab
from interp.activations import capture
from interp.interventions import Placement
from interp.models import LoadedModel
from interp.sites import Site

FOLDS = 2
STRENGTH = 0.01  # of the fit against its penalty: prompts are few, dimensions many


def probe_scores(
    lab: Lab,
    positive: Sequence[str],
    negative: Sequence[str],
    site: Site,
    edits: Sequence[Placement] = (),
    model: LoadedModel | None = None,
) -> Float[np.ndarray, " sample"]:
    """Scores of a logistic regression, positive prompts first; each from the other half's fit.

    Of the lab's model, or of another one with its tokenizer.
    """
    texts = [*positive, *negative]
    states = capture(model or lab.model, lab.tokens(texts), edits, sites=[site])[:, 0, 0]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
    label = np.arange(len(texts)) < len(positive)
    found = cross_val_predict(probe, states.numpy(), label, cv=FOLDS, method="decision_function")
    return np.asarray(found, np.float64)
