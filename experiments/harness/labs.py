"""Loads what a lab needs, as late as possible: the model only if something must be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from experiments.harness.run import REFUSAL
from experiments.lab.lab import Lab
from experiments.lab.progress import ProgressLog, Silent
from interp.behaviours import REGISTERED, Behaviour, refusal_of
from interp.behaviours import behaviour as behaviour_of
from interp.data import sets as data
from interp.data.near_duplicates import (
    near_duplicate_clusters,
    one_per_cluster,
    without_near_duplicates,
)
from interp.data.prompt_files import contrast_from_files
from interp.data.prompt_sets import ContrastSet, TextSet, text_set
from interp.data.splits import split
from interp.errors import is_out_of_memory
from interp.prompts import Style

if TYPE_CHECKING:
    import torch

    from interp.models import LoadedModel

CHECKED_PROMPTS = 8  # per class, on which bfloat16 is compared with float32


@dataclass(frozen=True)
class LabData:
    """The data of a lab; the test sets are functions of the seed, read once, when needed."""

    behaviour: Behaviour
    harmful_test: Callable[[int], TextSet]
    harmless_test: Callable[[int], TextSet]
    text: Callable[[], TextSet]

    @property
    def contrast(self) -> ContrastSet:
        """The prompts of the behaviour."""
        return self.behaviour.contrast

    def holds(self, name: str, sha256: str, seed: int) -> bool:
        """Whether a set of this name reads now as the one of this sha256."""
        if name in data.SETS and data.load_set(name).sha256 == sha256:
            return True
        # Of the same name, but in a frame: what an experiment reads of another behaviour.
        if name in REGISTERED and REGISTERED[name]().contrast.sha256 == sha256:
            return True
        readers = (
            lambda: self.contrast,
            lambda: self.harmful_test(seed),
            lambda: self.harmless_test(seed),
            self.text,
        )
        found = (read() for read in readers)  # none is read that need not be
        return next((texts.sha256 for texts in found if texts.name == name), None) == sha256


def registered_data() -> LabData:
    """Refusal: the matched contrast set; AdvBench and harmless tasks, one prompt per cluster."""
    refusal = REGISTERED["refusal"]()
    return LabData(
        refusal,
        cache(lambda seed: _unseen(data.advbench(), refusal.contrast, seed)),
        cache(lambda seed: _unseen(data.tasks(), refusal.contrast, seed)),
        cache(data.wikipedia),
    )


def _unseen(texts: TextSet, contrast: ContrastSet, seed: int) -> TextSet:
    """One text per near-duplicate cluster, without those that resemble the contrast set."""
    new = without_near_duplicates(texts, [*contrast.positive, *contrast.negative])
    # By a name of its own: an experiment may read the whole set too.
    return replace(one_per_cluster(new, seed), name=f"{texts.name} test")


def on_its_own_split(behaviour: Behaviour) -> LabData:
    """A behaviour whose own test split has the test prompts."""
    contrast = behaviour.contrast
    if behaviour.classify is None:
        # By a name of its own: prompts may be framed, and the sha256 holds what they are scored by.
        name = f"{behaviour.name} as asked"
        contrast = replace(contrast, name=name, sha256=behaviour.sha256)
        behaviour = replace(behaviour, contrast=contrast)

    def test(side: str, seed: int) -> TextSet:
        texts = getattr(split(contrast, seed).test, side)
        clusters = near_duplicate_clusters(texts)
        return text_set(f"{contrast.name} test {side}", texts, contrast.licence, clusters)

    return LabData(
        behaviour,
        cache(lambda seed: test("positive", seed)),
        cache(lambda seed: test("negative", seed)),
        cache(data.wikipedia),
    )


def load_data(
    behaviour: str = REFUSAL,
    positive: Path | None = None,
    negative: Path | None = None,
    name_of_field: str | None = None,
) -> LabData:
    """The data of a behaviour, or of refusal on a contrast set from the user's files.

    Refusal has registered test prompts; whatever else is tested on its own test split.
    """
    if positive is not None and negative is not None:
        return on_its_own_split(refusal_of(contrast_from_files(positive, negative, name_of_field)))
    if behaviour == REFUSAL:
        return registered_data()
    return on_its_own_split(behaviour_of(behaviour))


def build_lab(
    model: LoadedModel,
    source: LabData,
    *,
    style: Style = "template",
    seed: int = 0,
    preset: str = "quick",
    progress: ProgressLog | None = None,
) -> Lab:
    """A lab on a loaded model."""
    return Lab(
        model=model,
        studied=replace(source.behaviour, style=style),
        harmful_test=lambda: source.harmful_test(seed),
        harmless_test=lambda: source.harmless_test(seed),
        text=source.text,
        style=style,
        seed=seed,
        preset=preset,
        progress=progress,
    )


class Bench(Protocol):
    """What the runner needs: what a result depends on, and a lab when something must run."""

    def identity(self) -> dict[str, Any]:
        """What a result depends on besides code and settings, known without loading the model."""
        ...

    def holds(self, data: str, sha256: str, seed: int) -> bool:
        """Whether a data set of this name reads now as the one of this sha256."""
        ...

    def lab(self, seed: int) -> Lab:
        """The lab whose splits are drawn with `seed`; the same object when asked again."""
        ...


@dataclass
class ModelBench:
    """A bench that loads a named model when the first lab is asked for, if it is not `loaded`."""

    model: str
    sha256: str
    source: LabData
    preset: str
    style: Style = "template"
    dtype: str = "auto"
    device: str = "auto"
    progress: ProgressLog = field(default_factory=Silent)
    loaded: LoadedModel | None = None
    _labs: dict[int, Lab] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """Hashes of the model and the contrast set, style, and the dtype and kind of device."""
        device, dtype = self._device_and_dtype()
        return {
            "model": self.sha256,
            "contrast": self.source.contrast.sha256,
            "style": self.style,
            "dtype": str(dtype).removeprefix("torch."),
            "device": device.type,
        }

    def _device_and_dtype(self) -> tuple[torch.device, torch.dtype]:
        from interp.models import device_and_dtype

        if self.loaded is not None:
            return self.loaded.device, self.loaded.dtype
        return device_and_dtype(self.model, self.device, self.dtype)

    def holds(self, data: str, sha256: str, seed: int) -> bool:
        """Whether a data set of this name reads now as the one of this sha256."""
        return self.source.holds(data, sha256, seed)

    def lab(self, seed: int) -> Lab:
        """The lab of this seed; the model is loaded once for all seeds."""
        if seed not in self._labs:
            self._labs[seed] = build_lab(
                self._model,
                self.source,
                style=self.style,
                seed=seed,
                preset=self.preset,
                progress=self.progress,
            )
        return self._labs[seed]

    @cached_property
    def _model(self) -> LoadedModel:
        model = self._load() if self.loaded is None else self.loaded
        if self.dtype == "auto" and model.info.dtype == "bfloat16":
            self._warn_of_rounding(model)
        return model

    def _load(self) -> LoadedModel:
        from interp.models import load

        self.progress.say(f"loading {self.model}")
        return load(self.model, dtype=self.dtype, device=self.device)

    def _warn_of_rounding(self, model: LoadedModel) -> None:
        """Name what is measured in bfloat16 and would not come out right on this model."""
        from interp.agreement import agreement

        contrast = self.source.contrast
        sample = contrast.positive[:CHECKED_PROMPTS], contrast.negative[:CHECKED_PROMPTS]
        try:
            measured = agreement(model, *sample, self.style)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.progress.say("warning: no room for float32, so bfloat16 could not be checked")
            return
        for found in measured:
            # Activations are captured in float32 (`Lab.activations`), so their errors do not count.
            if found.site is None and not found.safe:
                self.progress.say(f"warning: in bfloat16 the {found}; use --dtype float32")
