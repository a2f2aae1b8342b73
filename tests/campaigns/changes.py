"""Small changes of a program's syntax tree, one at a time, for mutation testing.

Comparisons, `and` and `or`, arithmetic, numbers, truth values and conditions are turned round; what
is returned, raised or called is left out. Annotations, messages and lines of a log stay.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Mod: ast.Mult,
    ast.RShift: ast.LShift,
}


class Change(NamedTuple):
    """A changed program: its tree, the change in words, and the lines of what was changed."""

    tree: ast.Module
    words: str
    lines: range


def n_changes(path: Path) -> int:
    """How many changes a file has."""
    sites = _Sites(None)
    sites.visit(ast.parse(path.read_text("utf-8")))
    return sites.seen


def mutated(path: Path, number: int) -> Change:
    """A file with the change of a number."""
    sites = _Sites(number)
    tree = sites.visit(ast.parse(path.read_text("utf-8")))
    words = f"line {sites.lines.start}: {sites.words}"
    return Change(ast.fix_missing_locations(tree), words, sites.lines)


def _changes_of(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every change of one node: in words, and the node that takes its place."""
    new: Any = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARED:
        new.ops[0] = _COMPARED[type(node.ops[0])]()
        yield "another comparison", new
    elif isinstance(node, ast.BoolOp):
        new.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield "`and` for `or`, or the other way", new
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "no `not`", new.operand
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _COMPUTED:
        new.op = _COMPUTED[type(node.op)]()
        yield "another operation", new
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "the other truth value", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "one more", ast.Constant(node.value + 1)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield "the other condition", new
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield "nothing returned", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "a call left out", ast.Pass()
    elif isinstance(node, ast.Raise):
        yield "nothing raised", ast.Pass()


class _Sites(ast.NodeTransformer):
    """Counts the changes of a tree, and makes the one of a number."""

    def __init__(self, wanted: int | None) -> None:
        self.wanted, self.seen, self.words, self.lines = wanted, 0, "", range(0)

    def visit(self, node: ast.AST) -> Any:
        """Go through all but blocks for type checkers and lines of a log."""
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return node
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith("_log."):
            return node
        for words, new in _changes_of(node):
            if self.seen == self.wanted:
                self.words, self.lines = words, _lines_of(node)
                self.seen += 1
                return ast.copy_location(new, node)
            self.seen += 1
        return self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> Any:
        """Defaults alone."""
        node.defaults = [self.visit(default) for default in node.defaults]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        """The value alone."""
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """All but what is returned, as a type."""
        returns, node.returns = node.returns, None
        node.args = self.visit_arguments(node.args)
        node.body = [self.visit(part) for part in node.body]
        node.returns = returns
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        """Messages stay as they are."""
        return node


def _lines_of(node: ast.AST) -> range:
    """The lines of a statement or expression; of an `if` or a loop, those of its condition."""
    start: int = getattr(node, "lineno", 0)
    last = node.test if isinstance(node, ast.If | ast.While) else node
    return range(start, (getattr(last, "end_lineno", None) or start) + 1)
