"""`interp try`: the model's answer beside that of the edited model, once or in a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from annotated_types import Ge, Le
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.command.subject import (
    DirectionPath,
    check_fit,
    model_name,
    other_weights,
    read_directions,
    read_shape,
)
from experiments.harness.run import Name, Style, check_choices, shown_as
from experiments.lab.config import check, expected, fits
from interp.errors import ExperimentError, InterpError, nearest

if TYPE_CHECKING:
    from interp.directions import Direction
    from interp.interventions import Placement

Factor = Annotated[float, Ge(-100), Le(100)]
Degrees = Annotated[float, Ge(-360), Le(360)]
Tokens = Annotated[int, Ge(1), Le(4096)]
WITH_VALUE: dict[str, Any] = {"scale": Factor, "rotate": Degrees}
HOW = "A prompt; /scale 2, /ablate or /rotate 120 changes the edit; an empty line ends."


@dataclass(frozen=True)
class Options:
    """Show the model's answer and the edited model's side by side; without a prompt, a session.

    DIRECTION is a .safetensors file of directions, or a folder with direction.safetensors. The edit
    takes the direction out of every state, unless --scale or --rotate is given.
    """

    direction: DirectionPath
    """A file of directions, or a folder that holds direction.safetensors."""
    prompt: Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint="")] = None
    """What to ask; without it prompts are read line by line."""
    scale: Factor | None = None
    """Add so many times the raw vector at the direction's own site; may be negative."""
    ablate: bool = False
    """Take the direction out of every state, which is the default."""
    rotate: Degrees | None = None
    """Turn every state to so many degrees from the direction, in the plane of the two directions
    that the file then has to hold."""
    model: Name = None
    """The direction's model: a registered name, a hub id, a folder or a .gguf file. Default: the
    one that the direction says it is of."""
    tokens: Tokens = 64
    """The most tokens of an answer."""
    style: Annotated[Style | None, shown_as("STYLE")] = None
    """How a prompt is put to the model: template, none or newline. Default: as for the prompts that
    the direction was taken from, else the chat template if the model has one."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Edit:
    """What is done to the model: ablate, scale by a factor, or rotate to an angle in degrees."""

    kind: str = "ablate"
    value: float | None = None

    @property
    def label(self) -> str:
        """The heading of its answer."""
        return self.kind if self.value is None else f"{self.kind} {self.value:g}"


Answer = Callable[[str, Edit], tuple[str, str]]
"""A prompt and an edit to the model's answer and the edited one"""


def try_edit(options: Options, console: Console) -> None:
    """Answer the prompt, or hold a session. Raises for a direction or edit before loading."""
    edit = chosen_edit(options)
    if options.prompt is not None and not options.prompt.strip():
        raise ExperimentError("The prompt is empty. Give --prompt a text, or leave it out.")
    directions = read_directions(options.direction)
    style: Any = options.style or directions[0].provenance.get("style")
    check_choices({"style": style})
    name = model_name(options.model, directions[0])
    check_fit(name, read_shape(name), directions[0])
    placement(edit, directions)
    if note := other_weights(name, directions[0]):
        console.print(note, highlight=False, soft_wrap=True)
    answer = answers_of(name, directions, options.tokens, style)
    if options.prompt is None:
        hold_session(answer, edit, directions, console)
    else:
        show(*answer(options.prompt, edit), edit, console)


def chosen_edit(options: Options) -> Edit:
    """The one edit that the flags ask for; raises ExperimentError for more than one."""
    given = [Edit("ablate")] * options.ablate
    values = {"scale": options.scale, "rotate": options.rotate}
    given += [Edit(kind, value) for kind, value in values.items() if value is not None]
    if len(given) > 1:
        flags = " and ".join(f"--{edit.kind}" for edit in given)
        raise ExperimentError(f"{flags} are different edits. Give one of them.")
    return given[0] if given else Edit()


def placement(edit: Edit, directions: Sequence[Direction]) -> Placement:
    """The edit on the first direction; a turn is in its plane with the second.

    Raises ExperimentError for a turn without a second direction, ActivationError for two that are
    parallel and for a scale of a direction without a site.
    """
    first = directions[0]
    if edit.value is None:
        return first.ablate()
    if edit.kind == "scale":
        return first.add(edit.value)
    if len(directions) < 2:
        raise ExperimentError(
            "A turn needs a plane: this file holds one direction. Save it with a second one "
            "(interp.save_directions), or use --scale or --ablate."
        )
    return first.rotate(edit.value, towards=directions[1].unit)


def answers_of(
    name: str, directions: Sequence[Direction], tokens: int, style: Style | None
) -> Answer:
    """Load the model; greedy answers of at most so many tokens to prompts in a style."""
    from interp.generation import answers
    from interp.models import load
    from interp.prompts import tokenise

    model = load(name)

    def answer(prompt: str, edit: Edit) -> tuple[str, str]:
        edits = [placement(edit, directions)]
        asked = [prompt] if style is None else tokenise(model, [prompt], style)
        plain, edited = (
            answers(model, asked, given, max_new_tokens=tokens)[0] for given in ([], edits)
        )
        return plain, edited

    return answer


def hold_session(
    answer: Answer, edit: Edit, directions: Sequence[Direction], console: Console
) -> None:
    """Read prompts and changes of the edit until an empty line, Ctrl-D or Ctrl-C."""
    console.print(HOW, highlight=False, soft_wrap=True)
    while line := _next_line(edit, console):
        try:
            if line.startswith("/"):
                changed = edit_from(line)
                placement(changed, directions)
                edit = changed
            else:
                show(*answer(line, edit), edit, console)
        except InterpError as error:
            console.print(Text(f"error: {error}"), soft_wrap=True)


def _next_line(edit: Edit, console: Console) -> str:
    try:
        return input(f"{edit.label} > ").strip()
    except (EOFError, KeyboardInterrupt):
        console.print()
        return ""


def edit_from(line: str) -> Edit:
    """The edit of a line such as `/scale 2`; raises ExperimentError for what is none."""
    kind, _, word = line.removeprefix("/").partition(" ")
    if kind == "ablate" and not word:
        return Edit()
    if kind not in WITH_VALUE:
        known = nearest(f"/{kind}", ["/scale", "/ablate", "/rotate"])
        raise ExperimentError(f"'{line}' is no edit{known}")
    value = _number(word.strip())
    if not fits(value, WITH_VALUE[kind]):
        raise ExperimentError(f"{kind} is {value!r}; expected {expected(WITH_VALUE[kind])}.")
    return Edit(kind, value)


def _number(word: str) -> Any:
    try:
        return float(word)
    except ValueError:
        return word


def show(plain: str, edited: str, edit: Edit, console: Console) -> None:
    """Two columns on a terminal, else one answer after the other, as they are."""
    if not console.is_terminal:
        for heading, text in (("model", plain), (edit.label, edited)):
            console.print(Text(f"--- {heading}\n{text}"), soft_wrap=True)
        return
    table = Table("model", edit.label, expand=True)
    table.add_row(Text(plain), Text(edited))
    console.print(table)
