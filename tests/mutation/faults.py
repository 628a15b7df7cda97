"""Single faults in Python source, found and made in its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

__all__ = ["Fault", "faults_in"]

Edit = Callable[[Any], ast.AST | None]
"""Takes a copy of a node and returns what takes its place; None removes a statement."""

COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
}
FUNCTIONS: Final = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "reversed": "list"}
LEAVING: Final = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: What is wrong, such as `comparison`.
        line: Of the source.
        text: The expression or statement before and after.
    """

    kind: str
    line: int
    text: str
    _tree: ast.Module = field(repr=False)
    _number: int = field(repr=False)
    _edit: Edit = field(repr=False)

    @property
    def source(self) -> str:
        """The whole source with the fault."""
        faulty = copy.deepcopy(self._tree)
        target = next(node for index, node in enumerate(ast.walk(faulty)) if index == self._number)
        changed = _Replace(target, self._edit(copy.deepcopy(target))).visit(faulty)
        return ast.unparse(ast.fix_missing_locations(changed))

    def __str__(self) -> str:
        return f"line {self.line}, {self.kind}: {self.text}"


def faults_in(source: str) -> list[Fault]:
    """Returns every single fault that is made in a source, in a fixed order."""
    tree = ast.parse(source)
    numbers = {node: number for number, node in enumerate(ast.walk(tree))}
    faults = []
    for node in _code(tree):
        for kind, edit in _edits(node):
            replacement = edit(copy.deepcopy(node))
            before, after = _short(node), "nothing" if replacement is None else _short(replacement)
            if before != after:
                faults.append(Fault(kind, node.lineno, f"{before} -> {after}", tree, numbers[node], edit))
    return faults


def _code(tree: ast.Module) -> Iterator[Any]:
    """Yields expressions and statements of functions and constants; no annotations, messages, names or imports."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.FunctionDef):
            children = list(node.body)
        elif isinstance(node, ast.ClassDef):
            children = [child for child in node.body if isinstance(child, ast.FunctionDef)]
        elif isinstance(node, ast.AnnAssign):
            children = [node.value] if node.value is not None else []
        elif isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr) or _is_never_run(node):
            continue
        elif _is_decline(node):
            children = []
        stack.extend(reversed(children))
        if isinstance(node, ast.expr | ast.stmt):
            yield node


def _is_never_run(node: ast.AST) -> bool:
    """Says whether a node is a docstring, or what only a type checker reads."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_decline(node: ast.AST) -> bool:
    """Says whether a statement is a call of `facts.decline`: how it words its reason is no matter."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "decline"


def _edits(node: Any) -> Iterator[tuple[str, Edit]]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            yield "comparison", lambda n: _with(n, ops=[COMPARISONS[type(n.ops[0])]()])
        case ast.Constant(value=bool()):
            yield "constant", lambda n: ast.Constant(not n.value)
        case ast.Constant(value=int()):
            yield "off by one", lambda n: ast.Constant(n.value + 1)
            yield "off by one", lambda n: ast.Constant(n.value - 1)
        case ast.Constant(value=float()):
            yield "constant", lambda n: ast.Constant(n.value * 2 + 1e-4)
        case ast.BinOp(op=operator) if type(operator) in OPERATORS:
            yield "operator", lambda n: _with(n, op=OPERATORS[type(n.op)]())
            if not isinstance(operator, ast.Add | ast.Mult | ast.BitAnd) or isinstance(
                node.left, ast.List | ast.Starred
            ):
                yield "swapped operands", lambda n: _with(n, left=n.right, right=n.left)
        case ast.BoolOp():
            yield "and for or", lambda n: _with(n, op=ast.Or() if isinstance(n.op, ast.And) else ast.And())
            for index in range(len(node.values)):
                yield "dropped condition", partial(_without, field="values", index=index)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "dropped sign", lambda n: n.operand
        case ast.IfExp():
            yield "swapped branches", lambda n: _with(n, body=n.orelse, orelse=n.body)
        case ast.Call():
            yield from _calls(node)
        case ast.List(elts=items) | ast.Tuple(elts=items) if isinstance(node.ctx, ast.Load) and len(items) > 1:
            for index in range(len(items)):
                yield "dropped item", partial(_without, field="elts", index=index)
            yield "swapped operands", lambda n: _with(n, elts=[n.elts[1], n.elts[0], *n.elts[2:]])
        case ast.Slice(lower=lower, upper=upper):
            if lower is not None:
                yield "dropped bound", lambda n: _with(n, lower=None)
            if upper is not None:
                yield "dropped bound", lambda n: _with(n, upper=None)
        case ast.If(body=[*_, last], orelse=[]) if _is_decline(last) or isinstance(last, LEAVING):
            yield "dropped condition", lambda n: None
            yield "negated condition", lambda n: _with(n, test=ast.UnaryOp(ast.Not(), n.test))
        case ast.AugAssign():
            yield "dropped statement", lambda n: None


def _calls(node: ast.Call) -> Iterator[tuple[str, Edit]]:
    if isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        yield "other function", lambda n: _with(n, func=ast.Name(FUNCTIONS[n.func.id], ast.Load()))
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if method == "attribute" and isinstance(node.args[1], ast.Constant):
        yield "other attribute", lambda n: _with(n, args=[n.args[0], ast.Constant(f"{n.args[1].value}_"), *n.args[2:]])
    plain = [index for index, argument in enumerate(node.args) if not isinstance(argument, ast.Constant | ast.Starred)]
    if len(plain) > 1 and method not in ("attribute", "input"):
        first, second = plain[:2]
        yield "swapped operands", partial(_swapped, first=first, second=second)
    if method == "op":
        for index in range(1, len(node.args)):
            yield "dropped item", partial(_without, field="args", index=index)
        for index in range(len(node.keywords)):
            yield "dropped attribute", partial(_without, field="keywords", index=index)


def _with(node: Any, **changes: Any) -> Any:
    # The values come from the copy that is edited, so that nothing is shared with the tree.
    for name, value in changes.items():
        setattr(node, name, value)
    return node


def _without(node: Any, *, field: str, index: int) -> Any:
    items = getattr(node, field)
    del items[index]
    if isinstance(node, ast.BoolOp) and len(items) == 1:
        return items[0]
    return node


def _swapped(node: Any, *, first: int, second: int) -> Any:
    node.args[first], node.args[second] = node.args[second], node.args[first]
    return node


class _Replace(ast.NodeTransformer):
    """Puts something in the place of one node; a block that would be empty gets a `pass`."""

    def __init__(self, target: ast.AST, replacement: ast.AST | None) -> None:
        self.target = target
        self.replacement = replacement

    def visit(self, node: ast.AST) -> Any:
        if node is self.target:
            return ast.Pass() if self.replacement is None else self.replacement
        return self.generic_visit(node)


def _short(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:90]
