"""Reads tables out of Python sources without running them."""

import ast
from typing import Any

from interp.errors import DataError


class _EnumNames(ast.NodeTransformer):
    """Reads `Enum.MEMBER`, which keys some tables, as the string "MEMBER"."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """The attribute's name in the place of the attribute."""
        return ast.copy_location(ast.Constant(node.attr), node)


def read_literal(source: str, variable: str) -> Any:
    """The literal assigned to a variable at the top level of Python source, which is never run.

    Raises DataError when the variable is not there or its value is not a literal.
    """
    try:
        statements = ast.parse(source).body
        for node in statements:
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            if variable in names and isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                return ast.literal_eval(_EnumNames().visit(node.value))
    except (SyntaxError, ValueError) as error:
        raise DataError(f"{variable} cannot be read as a literal: {error}.") from error
    raise DataError(f"The source assigns no variable {variable}.")
