"""One bar on standard error for whatever is downloaded: size, speed and the time left."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Report = Callable[..., None]
"""Called with the number of bytes that are here so far; and of all, if not known beforehand"""


@contextlib.contextmanager
def progress_bar(label: str, total: int | None, enabled: bool) -> Iterator[Report]:
    """A bar that shows once the number of all bytes is known; yields what moves it forward."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True), disable=not enabled)
    task = progress.add_task(label, total=total)

    def report(done: int, total: int | None = total) -> None:
        """Move the bar, never back, and show it if it is not shown yet."""
        done = max(done, int(progress.tasks[task].completed))
        progress.update(task, completed=done, total=total)
        if total:
            progress.start()

    try:
        yield report
    finally:
        if progress.live.is_started:
            progress.stop()


@contextlib.contextmanager
def hub_progress_bar(label: str, enabled: bool) -> Iterator[type]:
    """The same bar as a `tqdm_class` for huggingface_hub, whose own bars then do not show."""
    from huggingface_hub.utils import tqdm

    with progress_bar(label, None, enabled) as report:

        class Silent(tqdm):
            """A bar that prints nothing.

            A snapshot has one of files, which is left out, and two of the same bytes, as received
            and as written: whichever is further counts, since the report never goes back.
            """

            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **{**options, "disable": True})
                self.of_bytes = options.get("unit") == "B"
                self.refresh()

            def update(self, n: float | None = 1) -> None:
                """Count `n` bytes more."""
                self.n += n or 0
                self.refresh()

            def refresh(self, *args: Any, **options: Any) -> None:
                """Report instead of drawing."""
                if self.of_bytes:
                    report(self.n, self.total)

        yield Silent
