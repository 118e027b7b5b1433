"""What the bank is asked: one class a question, which owns its stored form, its query and the reading of the answer.

Every module here is loaded with the package, so that a stored question is known in any process: a new kind of question
is one new file.
"""

from importlib import import_module
from pkgutil import iter_modules


def load() -> None:
    """Import every module of the package."""
    for module in iter_modules(__path__, f"{__name__}."):
        import_module(module.name)


load()
