"""docs/bank.md is made from the code and never stale."""

from __future__ import annotations

from pathlib import Path

from service.catalogue.bank_document import PATH, render, setting_of
from service.catalogue.choices import CHOICES
from service.catalogue.interfaces import INTERFACES
from service.settings import RulesSettings

ROOT = Path(__file__).parents[2]


def test_the_document_is_what_the_code_says() -> None:
    assert (ROOT / PATH).read_text("utf-8") == render(), "docs/bank.md is stale: run `make docs`"


def test_every_interface_has_one_row() -> None:
    rows = [line for line in render().splitlines() if line.startswith("| 6")]
    assert len(rows) >= len(INTERFACES) >= 54
    assert [row[2:6] for row in rows[: len(INTERFACES)]] == sorted(INTERFACES)


def test_every_choice_names_a_setting_that_explains_itself_or_says_what_the_code_does() -> None:
    for choice in CHOICES:
        assert choice.supports
        assert bool(choice.setting) != bool(choice.does), choice.point
        if choice.setting:
            assert setting_of(choice).description, f"{choice.setting} has no docstring"


def test_every_rule_setting_is_explained() -> None:
    named = {choice.setting for choice in CHOICES}
    missing = [name for name in RulesSettings.model_fields if f"rules.{name}" not in named]
    assert not missing, f"service/catalogue/choices.py has no point for rules.{', rules.'.join(missing)}"
