"""Queries to the bank: one class each, which owns its stored form, its request and the reading of the answer.

Every module here is loaded with the package, so that a stored query is known in any process: a new kind of query is
one new file.
"""

from importlib import import_module
from pkgutil import iter_modules


def load() -> None:
    """Import every module of the package."""
    for module in iter_modules(__path__, f"{__name__}."):
        import_module(module.name)


load()
