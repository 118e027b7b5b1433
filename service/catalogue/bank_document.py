"""docs/bank.md, made from the code: one row an interface, and one a point where the bank's documents leave a choice.

`jzb docs bank` writes it; a test fails while the file differs from what is made here.
"""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bankclient import REQUESTS
from service.catalogue.choices import CHOICES, Choice
from service.catalogue.interfaces import INTERFACES
from service.settings import Settings

PATH = Path("docs/bank.md")
TESTS = Path("tests")
ROOMS = ("flows", "faults", "contract", "operation")

HEAD = """\
# The bank's interfaces

Made by `jzb docs bank` from what each RPC declares in `protos/`, from `service/catalogue/` and from the settings. Do
not edit it by hand.

"The quick start" is the bank's own public guide to the product (电商见证宝); numbers such as 2.4
are its chapters. "The catalogue" is our list of what public sources say of each interface, its fields and codes
(`tests/catalogue/catalogue.yaml`). "Clients" are published programs that speak with this bank, "the SDK" is the bank's.

## Interfaces

Each interface has a typed message in `bankclient/messages/` and a handler in `sandbox/handlers/`. The effect is stated
in the mirror's accounts. *Settled by* names the query that settles a lost answer: the resolver sends it until the
outcome is final. *Sent again* means that the interface is a query: it changes nothing and may be repeated. *Called
again* means that the caller repeats the RPC. [glossary.md](glossary.md) explains the terms.

"""

CHOICES_HEAD = """
## Where the bank's documents leave a choice

On these points public documents disagree or are silent. The default follows the quick start. A
setting is an environment variable: `rules.top_up_amount` is `JZB_RULES__TOP_UP_AMOUNT`. A point without a setting is a
choice in the code. Ask the bank before the first day in production.

"""


def render() -> str:
    """The whole document."""
    return f"{HEAD}{_table(_INTERFACE_HEAD, _interface_rows())}{CHOICES_HEAD}{_table(_CHOICE_HEAD, _choice_rows())}"


_NOTES = re.compile(r"\s*\((?:notes|transport)\.md [^)]*\)")
"""References to working papers, which the reader of the document does not have."""

_INTERFACE_HEAD = ("code", "name", "service id", "RPC", "effect on money", "settled by", "tests")
_CHOICE_HEAD = ("point", "setting", "default", "meaning", "supported by", "question to ask the bank")


def _interface_rows() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for code in sorted(INTERFACES):
        interface, message = INTERFACES[code], REQUESTS[code]
        service_id = f"`{message.service_id}`" if message.service_id else "from `bank.service_ids`"
        rpcs = ", ".join(f"`{rpc}`" for rpc in interface.rpcs) or interface.reach
        tests = ", ".join(f"[{path.stem}](../{path.as_posix()})" for path in shown_by(code))
        rows.append((code, _chinese_name(code), service_id, rpcs, interface.effect, interface.settled_by, tests))
    return rows


def shown_by(code: str) -> list[Path]:
    """The test modules that name an interface in their first paragraph: the service's, else the sandbox's."""
    found = [path for path, codes in _tested().items() if code in codes]
    return [path for path in found if path.parent.name in ROOMS] or found


@cache
def _tested() -> dict[Path, set[str]]:
    texts = {
        path: ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        for room in (*ROOMS, "sandbox")
        for path in sorted((TESTS / room).glob("test_*.py"))
    }
    return {path: set(re.findall(r"\b6\d{3}\b", text.partition("\n\n")[0])) for path, text in texts.items()}


def _chinese_name(code: str) -> str:
    # Every message's docstring begins with code and name.
    found = re.match(rf"{code} ([^:]+):", REQUESTS[code].__doc__ or "")
    if found is None:
        raise ValueError(f"the docstring of message {code} does not begin with its code and name")
    return found[1]


def _choice_rows() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for choice in CHOICES:
        setting, default, meaning = "in the code", "", choice.does
        if choice.setting:
            field = setting_of(choice)
            setting, default, meaning = f"`{choice.setting}`", _default(field), field.description or ""
        texts = (_in_one_line(meaning), _in_one_line(choice.supports), choice.question)
        rows.append((choice.point, setting, default, *texts))
    return rows


def _in_one_line(text: str) -> str:
    return " ".join(_NOTES.sub("", text).split())


def setting_of(choice: Choice) -> FieldInfo:
    """The setting that a choice names. Raises ValueError when there is none."""
    model: type[BaseModel] = Settings
    *groups, name = choice.setting.split(".")
    for group in groups:
        inner = model.model_fields[group].annotation if group in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            raise ValueError(f"there is no group of settings {group} in {choice.setting}")
        model = inner
    if name not in model.model_fields:
        raise ValueError(f"there is no setting {choice.setting}")
    return model.model_fields[name]


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined and field.default_factory is None:
        return "none: it must be given"
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "none" if SecretStr in get_args(field.annotation) or NoneType in get_args(field.annotation) else "`null`"
    return f"`{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
