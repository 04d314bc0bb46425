"""The settings every experiment has. An experiment adds its own in a frozen subclass `Config`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ExperimentConfig:
    """Settings of an experiment."""

    seed: int = 0  # draws the splits, subsamples and nulls anew


def settings(config: ExperimentConfig) -> dict[str, object]:
    """Every setting by name, as it is written to result.json."""
    return dataclasses.asdict(config)


def changed(config: ExperimentConfig, preset: ExperimentConfig) -> dict[str, object]:
    """The settings that are not the preset's."""
    usual = settings(preset)
    return {name: value for name, value in settings(config).items() if value != usual[name]}


def changed_note(changed: Mapping[str, object], most: int | None = None) -> str:
    """Settings that are not the preset's, in brackets after a space; empty without any.

    Where there are more than `most`, the first of them and the number of the others.
    """
    listed = [f"{name} {value}" for name, value in changed.items()]
    if most is not None and len(listed) > most:
        listed[most:] = [f"{len(listed) - most} more"]
    return f" ({', '.join(listed)})" if listed else ""


def title(config: ExperimentConfig | type[ExperimentConfig]) -> str:
    """First line of the docstring of the settings: the experiment's title."""
    text = (config if isinstance(config, type) else type(config)).__doc__ or ""
    return text.strip().splitlines()[0] if text.strip() else ""
