"""One progress display on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 20.0


class ProgressLog(Protocol):
    """Shows how far a long loop is."""

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        """Yield the items, showing after each how many of `total` are done."""
        ...

    def say(self, line: str) -> None:
        """Show one line that stays."""
        ...


class Silent:
    """Shows nothing."""

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        """Yield the items."""
        yield from items

    def say(self, line: str) -> None:
        """Nothing."""


class Lines:
    """For a log file or a pipe: a plain line every 20 seconds, no control characters."""

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        """Yield the items; loops that take less than 20 seconds show nothing."""
        started = shown = time.monotonic()
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - shown > SECONDS_BETWEEN_LINES:
                of = f" of {total}" if total is not None else ""
                self.say(f"  {description}: {done}{of} after {now - started:.0f} s")
                shown = now
            yield item

    def say(self, line: str) -> None:
        """Print the line at once."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201


class Bars:
    """For a terminal: one live display with a bar per running loop."""

    def __init__(self, display: Progress) -> None:
        self._display = display

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        """Yield the items; the bar disappears when the loop ends."""
        task = self._display.add_task(description, total=total)
        try:
            for item in items:
                yield item
                self._display.advance(task)
        finally:
            self._display.remove_task(task)

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self._display.console.print(line, highlight=False, markup=False)


@contextmanager
def progress_log() -> Iterator[ProgressLog]:
    """The display that suits stderr: bars on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as display:
        yield Bars(display)
