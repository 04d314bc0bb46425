"""Tuning an edited model to show its behaviour again, from a few examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.lab.meter import BASE, Edit, Meter
from experiments.lab.selection import Prompts
from interp.generation import answers
from interp.models import LoadedModel
from interp.tuning import tuned


@dataclass(frozen=True)
class Lesson:
    """What a tuning is given, half of the examples with the behaviour; `number` draws them."""

    n_taught: int
    n_steps: int
    number: int = 0
    batch_size: int = 8
    learning_rate: float = 1e-3

    def __str__(self) -> str:
        return f"tuned/{self.n_taught} examples, {self.n_steps} steps/{self.number}"


def millions(model: LoadedModel) -> float:
    """Parameters, in millions."""
    return sum(part.numel() for part in model.hf.parameters()) / 1e6


def after(
    meter: Meter, edit: Edit, lesson: Lesson, prompts: Prompts, sides: Sequence[str]
) -> Mapping[str, Any]:
    """Classes of answers to the sets `sides` after the lesson; a cell.

    And `learnt`: the mean probability, by the score, that an answer to the positive prompts that
    were taught shows the behaviour. Prompts of the lesson are train prompts that the model answers
    as their class says: positive ones with the unedited model's answers, negative ones with the
    edited model's own.
    """
    compute = lambda: _after(meter, edit, lesson, prompts, sides)  # noqa: E731
    return meter.lab.cell(f"{edit.name}/{lesson}", compute)


def _after(
    meter: Meter, edit: Edit, lesson: Lesson, prompts: Prompts, sides: Sequence[str]
) -> dict[str, Any]:
    lab = meter.lab
    asked, told = _taught(meter, edit, lesson, prompts)
    with meter.editing(edit):
        model = tuned(
            lab.model, asked, told, steps=lesson.n_steps, batch_size=lesson.batch_size,
            learning_rate=lesson.learning_rate, seed=1000 * lab.seed + lesson.number,
            style=lab.style,
        )  # fmt: skip
    positive = asked[: len(asked) // 2]
    scores = lab.studied.read(model, positive, lab.tokens(positive)).scores
    classify = lab.studied.classify or str
    found: dict[str, Any] = {"learnt": float(scores.sigmoid().mean())}
    for side in sides:
        said = answers(model, meter.tokens(side), max_new_tokens=meter.answer_tokens)
        found[side] = [classify(answer) for answer in said]
    return found


def _taught(
    meter: Meter, edit: Edit, lesson: Lesson, prompts: Prompts
) -> tuple[list[str], list[str]]:
    """Prompts, those with the behaviour first, and answers."""
    rng = meter.lab.rng(f"lesson {lesson.number}")
    sides = [[part[i] for i in rng.permutation(rows)[: lesson.n_taught // 2]]
             for part, rows in zip(prompts.train, prompts.train_rows, strict=True)]  # fmt: skip
    n, said = min(map(len, sides)), []
    for which, texts in zip((BASE, edit), sides, strict=True):
        with meter.editing(which):
            tokens = meter.lab.tokens(texts[:n])
            said += answers(meter.lab.model, tokens, max_new_tokens=meter.answer_tokens)
    return [*sides[0][:n], *sides[1][:n]], [text if text.strip() else "." for text in said]
