"""Damage to files, drawn from a seed, and what reading them may come to: a result or our error."""

import random
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interp.errors import InterpError

SECONDS, BYTES = 10, 2 << 30
MEMORY = Path("/proc/self/statm")
NUMBERS = (0, 1, 2, 3, 7, 255, 256, 1 << 16, (1 << 31) - 1, (1 << 32) - 1, 1 << 40, (1 << 64) - 1)


class HangError(BaseException):
    """No Exception, so that nothing turns it into an error of ours."""


def flipped(rng: random.Random, content: bytes, places: Sequence[int]) -> bytes:
    """The content with one to four bits flipped, a number written over it, or its end cut off."""
    damaged = bytearray(content)
    kind = rng.randrange(6)
    if kind == 0:
        return content[: rng.randrange(len(content))]
    if kind < 4:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            damaged[rng.choice(places)] ^= 1 << rng.randrange(8)
    else:
        place, width = rng.choice(places), rng.choice((1, 4, 8))
        number = rng.choice(NUMBERS) & ((1 << 8 * width) - 1)
        damaged[place : place + width] = number.to_bytes(width, "little")
    return bytes(damaged[: len(content)])


def spliced(rng: random.Random, content: bytes, pieces: Sequence[bytes]) -> bytes:
    """The content with up to three pieces put into it, or in the place of some of it."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        start = rng.randrange(len(content) + 1)
        end = start + rng.choice((0, 0, 1, 3, 8))
        piece = rng.choice((*pieces, rng.randbytes(2), content[start : start + 20]))
        content = content[:start] + piece + content[end:]
    return content


def outcome(case: str, read: Callable[..., Any], *arguments: Any) -> Any:
    """What `read` returns, or the InterpError that it raises; anything else names the case."""
    try:
        with limited():
            return read(*arguments)
    except InterpError as error:
        message = str(error)
        message.encode()
        assert len(message) < 1500, (case, message)
        assert "alloc" not in message and "MemoryError" not in message, (case, message)
        return error
    except BaseException as error:
        error.add_note(case)
        raise


@contextmanager
def limited() -> Iterator[None]:
    """Little time, and on Linux little memory: none is to be spent on what is not there."""

    def stop(signum: int, frame: Any) -> None:
        raise HangError(f"no result within {SECONDS} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        if MEMORY.exists():
            pages = int(MEMORY.read_text().split()[0])
            limit = pages * resource.getpagesize() + BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
