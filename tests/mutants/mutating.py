"""Small mistakes made in a module on purpose: one comparison, one amount, one row of a table, one line at a time.

Nothing is mutated that no test is to pin: docstrings, annotations, decorators, assertions, and the texts of messages.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
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
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}


Place = tuple[str, int]
"""A function of a module or of a class in it, by its qualified name and its first line; a module's name has line 0."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake: where it is, what it is, and the function or the module's name that it changes.

    ``within`` is None when it is elsewhere: in a class, in a function's defaults.
    """

    line: int
    what: str
    within: Place | None
    tree: ast.Module
    edit: Callable[[], None]

    def made(self) -> ast.Module:
        """The module with the mistake. All mutants share a tree, so a process makes one, and once."""
        self.edit()
        return ast.fix_missing_locations(self.tree)


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    finder = _Finder(ast.parse(source))
    return sorted(finder.found, key=lambda one: one.line)


class _Finder(ast.NodeVisitor):
    def __init__(self, tree: ast.Module) -> None:
        self.found: list[Mutant] = []
        self._tree = tree
        self._classes: list[str] = []
        self._within: Place | None = None
        self.visit(tree)

    def _add(self, node: ast.AST, what: str, edit: Callable[[], None]) -> None:
        self.found.append(Mutant(getattr(node, "lineno", 0), what, self._within, self._tree, edit))

    # What is left alone.

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assigned(node.target, node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assigned(node.targets[0], node.value)

    def _assigned(self, target: ast.expr, value: ast.expr) -> None:
        outer = self._within
        if isinstance(target, ast.Name) and not self._classes and outer is None:
            self._within = target.id, 0
        self.visit(target)
        self.visit(value)
        self._within = outer

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_Import(self, node: ast.Import) -> None:
        pass

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_TypeAlias(self, node: ast.AST) -> None:
        pass

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._classes.append(node.name)
        self._body(node)
        self._classes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name != "__repr__":
            for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                self.visit(default)
            self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer = self._within
        # As the compiler counts lines: from the first decorator on.
        line = min(one.lineno for one in (node, *node.decorator_list))
        self._within = outer or (".".join((*self._classes, node.name)), line)
        self._body(node)
        self._within = outer

    def visit_Module(self, node: ast.Module) -> None:
        self._body(node)

    def _body(self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for statement in node.body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue
            if isinstance(statement, ast.Assign) and _is_type_or_names(statement):
                continue
            if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
                continue
            self.visit(statement)

    # What is changed.

    def visit_Compare(self, node: ast.Compare) -> None:
        for index, operator in enumerate(node.ops):
            other = COMPARISONS[type(operator)]

            def edit(index: int = index, other: type[ast.cmpop] = other) -> None:
                node.ops[index] = other()

            self._add(node, f"{type(operator).__name__} -> {other.__name__} in {_short(node)}", edit)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or if isinstance(node.op, ast.And) else ast.And

        def edit() -> None:
            node.op = other()

        self._add(node, f"-> {other.__name__} in {_short(node)}", edit)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        other = ARITHMETIC.get(type(node.op))
        if other is not None and not _is_text(node.left) and not _is_text(node.right):

            def edit() -> None:
                node.op = other()

            self._add(node, f"{type(node.op).__name__} -> {other.__name__} in {_short(node)}", edit)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        other = ARITHMETIC.get(type(node.op))
        if other is not None:

            def edit() -> None:
                node.op = other()

            self._add(node, f"{type(node.op).__name__} -> {other.__name__} in {_short(node)}", edit)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            other: bool | int | str = not value
        elif isinstance(value, int):
            other = value + 1
        elif isinstance(value, str) and value and not any(character.isspace() for character in value):
            other = value + "x"
        else:
            return

        def edit() -> None:
            node.value = other

        self._add(node, f"{value!r} -> {other!r}", edit)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):

            def edit() -> None:
                node.operand = ast.UnaryOp(ast.Not(), node.operand)

            self._add(node, f"'not' dropped in {_short(node)}", edit)
        elif isinstance(node.op, ast.USub):

            def plus() -> None:
                node.op = ast.UAdd()

            self._add(node, f"'-' dropped in {_short(node)}", plus)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        self._negate(node, "test")
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node, "test")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node, "test")
        self.generic_visit(node)

    def _negate(self, node: ast.If | ast.While | ast.IfExp, name: str) -> None:
        test: ast.expr = getattr(node, name)
        if isinstance(test, ast.Compare | ast.UnaryOp):
            return  # has mutants of its own

        def edit() -> None:
            setattr(node, name, ast.UnaryOp(ast.Not(), test))

        self._add(node, f"negated: {_short(test)}", edit)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for index in range(len(node.ifs)):

            def edit(index: int = index) -> None:
                del node.ifs[index]

            self._add(node.ifs[index], f"'if {_short(node.ifs[index])}' dropped", edit)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            name = node.func

            def edit(other: str = FUNCTIONS[node.func.id]) -> None:
                name.id = other

            self._add(node, f"{name.id} -> {FUNCTIONS[name.id]}", edit)
        for index, keyword in enumerate(node.keywords):
            # zip(strict=True) is an assertion.
            if keyword.arg in (None, "strict") or _is_prose(keyword.value):
                continue

            def drop(index: int = index) -> None:
                del node.keywords[index]

            self._add(keyword.value, f"{keyword.arg}= dropped", drop)
        self.visit(node.func)
        for value in (*node.args, *(keyword.value for keyword in node.keywords if keyword.arg != "strict")):
            self.visit(value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._drop(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._drop(node)
        self.generic_visit(node)

    def _drop(self, node: ast.stmt) -> None:
        def edit() -> None:
            blank = ast.Pass()
            ast.copy_location(blank, node)
            node.__class__ = ast.Pass
            node.__dict__.clear()
            node.__dict__.update(blank.__dict__)

        self._add(node, f"dropped: {_short(node)}", edit)

    def visit_Dict(self, node: ast.Dict) -> None:
        for index in range(len(node.keys)):

            def edit(index: int = index) -> None:
                del node.keys[index], node.values[index]

            key = node.keys[index]
            self._add(node.values[index], f"row dropped: {_short(key) if key else '**'}", edit)
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        self._rows(node)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        if isinstance(node.ctx, ast.Load):
            self._rows(node)

    def visit_List(self, node: ast.List) -> None:
        if isinstance(node.ctx, ast.Load):
            self._rows(node)

    def _rows(self, node: ast.Set | ast.Tuple | ast.List) -> None:
        if not isinstance(node, ast.Set) or len(node.elts) > 1:
            for index in range(len(node.elts)):

                def edit(index: int = index) -> None:
                    del node.elts[index]

                self._add(node.elts[index], f"row dropped: {_short(node.elts[index])}", edit)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)
        if not _is_type(node):
            self.visit(node.slice)


def _is_type(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and (node.value.id[0].isupper() or node.value.id in ("dict", "frozenset", "list", "set", "tuple", "type"))
    )


def _is_type_or_names(node: ast.Assign) -> bool:
    """An alias of types, or the names that a module gives away."""
    target = node.targets[0]
    if isinstance(target, ast.Name) and target.id in ("__all__", "__slots__"):
        return True
    return isinstance(target, ast.Name) and (
        _is_type(node.value) or (isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.BitOr))
    )


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_prose(node: ast.expr) -> bool:
    if isinstance(node, ast.JoinedStr):
        return True
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and any(map(str.isspace, node.value))


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(copy.copy(node)).split())
    return text if len(text) <= 70 else f"{text[:67]}..."
