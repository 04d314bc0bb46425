"""Literals read out of Python sources."""

import pytest

from interp.assets.literals import read_literal
from interp.errors import DataError


def test_literals_are_read_and_never_run():
    source = (
        "import nothing.of.the.kind\n"
        "raise SystemExit\n"
        "ROWS: list[tuple[str, str]] = [('a' 'b', 'c')]\n"
        "TABLE = {Kind.CARE: [('x', 'y')]}\n"
        "CALL = print('run')\n"
    )
    assert read_literal(source, "ROWS") == [("ab", "c")]
    assert read_literal(source, "TABLE") == {"CARE": [("x", "y")]}
    with pytest.raises(DataError, match="cannot be read as a literal"):
        read_literal(source, "CALL")
    with pytest.raises(DataError, match="no variable OTHER"):
        read_literal(source, "OTHER")
    with pytest.raises(DataError, match="cannot be read as a literal"):
        read_literal("ROWS = [", "ROWS")
