"""Errors that a user can act on: each message names the thing, what was expected and what to do."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class InterpError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback."""


class AssetError(InterpError):
    """A file could not be fetched, read or verified."""


class WrongHashError(AssetError):
    """A file is not the registered one."""


class DiskFullError(AssetError):
    """No space is left for a download; no other source can help."""


class ModelError(InterpError):
    """A model is unknown, cannot be loaded, or fails the residual self-check."""


class DataError(InterpError):
    """A prompt file or data set is missing, empty, malformed or has a single class."""


class PromptError(InterpError):
    """A prompt cannot be tokenised as asked: no chat template, or longer than the context."""


class ActivationError(InterpError):
    """Activations are not finite, or a direction cannot be taken from them."""


class ExperimentError(InterpError):
    """An experiment, preset or setting is unknown, or its results cannot be written."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that a tensor did not fit, on a GPU or on the processor."""
    import torch  # here: the command line reads this module before it needs any tensor

    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


@contextmanager
def raised_as(kind: type[InterpError], what: str, advice: str) -> Iterator[None]:
    """Turn whatever a library raises inside into one error "what: reason. advice".

    For libraries that raise nearly every kind of exception: readers of a damaged file, and the
    client of the model hub.
    """
    try:
        yield
    except InterpError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(".")
        raise kind(f"{what}: {reason}. {advice}") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """How a message about an unknown name ends: "; did you mean 'x'? Known: ..."

    With the known name nearest to `name`, if one is near, and all that are known, if there are any.
    """
    choices = list(known)
    close = get_close_matches(name.lower(), choices, n=1, cutoff=0.4)
    guess = f"; did you mean '{close[0]}'?" if close else "."
    listed = f" Known: {', '.join(choices)}." if choices else ""
    return f"{guess}{listed}"
