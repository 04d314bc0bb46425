"""Behaviours: what shows them, and how much an answer does."""

from interp.behaviours.behaviour import Behaviour, Question, Reading, framed, question_of
from interp.behaviours.files import behaviour, read_behaviour
from interp.behaviours.registered import REGISTERED, refusal_of

__all__ = [
    "REGISTERED",
    "Behaviour",
    "Question",
    "Reading",
    "behaviour",
    "framed",
    "question_of",
    "read_behaviour",
    "refusal_of",
]
