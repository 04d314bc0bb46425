"""How good the refusal classifier is on a model, printed beside rates."""

from experiments.lab.estimate import Estimate
from interp.errors import DataError
from interp.scores import classifier_accuracy
from interp.stats import Interval


def accuracy_estimate(model: str) -> Estimate:
    """Accuracy of the refusal classifier on a model's labelled answers; NaN without labels."""
    try:
        found = classifier_accuracy(model)
    except DataError:
        return Estimate("classifier.accuracy", float("nan"))
    interval = Interval(found["value"], found["low"], found["high"], int(found["n"]))
    return Estimate.of("classifier.accuracy", interval)
