"""Rounds of alignment that are taught, and how many directions take them away again.

A planted lab with taught models of its own brings them as `rounds`, a function of the number of
the repetition, and the experiment does not see the difference.
"""

from collections.abc import Callable, Sequence

import pandas as pd

from experiments.lab.lab import Lab
from experiments.lab.meter import SHOWING, Meter, share
from experiments.lab.one_by_one import OneByOne
from interp.generation import answers
from interp.models import LoadedModel
from interp.tuning import tuned

from .protocol import DEPTHS, LEFT, MOST, ROUNDS, Config

BATCH, RATE = 4, 5e-4  # of the LoRA
KEPT_TOKENS = 12  # of the answers to harmless prompts, which are taught as they are
Taught = dict[str, LoadedModel]


def taught_models(lab: Lab, config: Config, repetition: int) -> Taught:
    """The model after all rounds, and a control for each sentence, with no other in its lessons."""
    own: Callable[[int], Taught] | None = getattr(lab, "rounds", None)
    if own is not None:
        return own(repetition)
    n = config.n_rounds
    words = {"rounds": range(n)} | {f"control {word}": [word] * n for word in range(n)}
    first = [lesson(lab, lab.model, config, 0, word, repetition) for word in range(n)]
    found = {name: first[plan[0]] for name, plan in words.items()}
    for k in range(1, n):
        for name, plan in words.items():
            found[name] = lesson(lab, found[name], config, k, plan[k], repetition)
    return found


def lesson(
    lab: Lab, model: LoadedModel, config: Config, k: int, words: int, repetition: int
) -> LoadedModel:
    """One round: its harmful prompts are refused in some words, its harmless ones answered."""
    rows = slice(k * config.n_taught, (k + 1) * config.n_taught)
    harmful, harmless = lab.splits.train.positive[rows], lab.splits.train.negative[rows]
    kept = answers(lab.model, lab.tokens(harmless), max_new_tokens=KEPT_TOKENS)
    pairs = [(prompt, ROUNDS[words]) for prompt in harmful]
    pairs += [pair for pair in zip(harmless, kept, strict=True) if pair[1].strip()]
    space = " " if lab.style == "none" else ""
    return tuned(
        model, [prompt for prompt, _ in pairs], [space + said.strip() for _, said in pairs],
        steps=config.n_steps, batch_size=BATCH, learning_rate=RATE, style=lab.style,
        seed=int(lab.rng(f"09.teaching/{repetition}/{k}").integers(2**31)),
    )  # fmt: skip


def meter_for(lab: Lab, config: Config, name: str, model: LoadedModel | None = None) -> Meter:
    """Of the lab's model or another one: prompts to choose by, and to count by."""
    bench = lab.on(lab.studied)
    bench.model = lab.model if model is None else model

    def drawn(on: str, texts: Sequence[str]) -> tuple[str, ...]:
        rows = lab.rng(f"09.counted/{on}").permutation(len(texts))[: config.n_counted]
        return tuple(texts[int(row)] for row in rows)

    sets = {"harmful": lab.harmful_test.texts, "harmless": lab.harmless_test.texts}
    prompts = {on: drawn(on, texts) for on, texts in sets.items()}
    prompts["validation"] = tuple(lab.splits.validation.positive[: config.n_validation])
    return Meter(bench, prompts, name=f"loop/{name}")


def one_by_one(lab: Lab, config: Config) -> OneByOne:
    """Directions from train prompts that were not taught."""
    rows = slice(
        config.n_rounds * config.n_taught, config.n_rounds * config.n_taught + config.n_train
    )
    return OneByOne(
        (lab.splits.train.positive[rows], lab.splits.train.negative[rows]), DEPTHS, LEFT
    )


def counted(lab: Lab, config: Config) -> pd.DataFrame:
    """Answers by model, repetition, directions ablated and prompt; harmless ones: `directions` -1.

    The model as it is, and, where it hardly refuses, every taught one.
    """
    meter = meter_for(lab, config, "untouched")
    plain = meter.answers("harmful")
    if share(plain, SHOWING) > LEFT:
        return _rows("untouched", 0, one_by_one(lab, config).answers(meter, config.n_untouched))
    names = ["rounds", *(f"control {word}" for word in range(config.n_rounds))]
    parts = [_rows("untouched", 0, [plain])]
    for repetition in lab.progress(range(config.n_repetitions), "teaching"):
        models = Later(lambda n=repetition: taught_models(lab, config, n))
        for name in names:
            steps, harmless = lab.cell(
                f"taught/{name}/{repetition}",
                lambda name=name, n=repetition, models=models: _taught(
                    meter_for(lab, config, f"{name}/{n}", models()[name]), config
                ),
            )
            parts += [_rows(name, repetition, steps), _rows(name, repetition, [harmless], -1)]
    return pd.concat(parts, ignore_index=True)


def _taught(meter: Meter, config: Config) -> tuple[list[list[str]], list[str]]:
    return one_by_one(meter.lab, config).answers(meter, MOST), meter.answers("harmless")


class Later:
    """What is made when it is first called for: a run that goes on need not teach again."""

    def __init__(self, make: Callable[[], Taught]) -> None:
        self._make, self._made = make, None

    def __call__(self) -> Taught:
        self._made = self._made or self._make()
        return self._made


def _rows(
    model: str, repetition: int, steps: Sequence[Sequence[str]], first: int = 0
) -> pd.DataFrame:
    rows = [
        (model, repetition, first + n, row, answer)
        for n, step in enumerate(steps)
        for row, answer in enumerate(step)
    ]
    return pd.DataFrame(rows, columns=["model", "repetition", "directions", "prompt", "answer"])
