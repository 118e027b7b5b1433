"""The contract of the last release is kept, and what would break its callers does not pass unseen (`make lint`)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jzb.v1.names import OperationKind
from scripts import contract

ROOT = Path(__file__).parents[2]


# What books of 0.2.0 may hold; later releases add to it.
STORED_BY_0_2_0 = """
OPEN_MEMBER CLOSE_MEMBER TOP_UP SPLIT_TOP_UP PAY_T1 PAY_T0 PREPAY_ORDER CONFIRM_ORDER CANCEL_ORDER FREEZE
RELEASE PAY_FROZEN REFUND WITHDRAW CLEARING ADOPTION LINK_SAME_NAME CHECK_CARD_BY_SMS CONFIRM_CARD_BY_SMS
CHECK_CARD_BY_TRANSFER CONFIRM_CARD_BY_TRANSFER UNBIND_CARD CORRECT_CARD_BRANCH REFRESH_CARDS CHANGE_MOBILE
SETTLE_CONFIRM SETTLE_CANCEL BATCH_PREPAY BATCH_CONFIRM BATCH_PAY REVOKE_TOP_UP REVOKE_SPLIT_TOP_UP
WITHDRAWAL_RETURN TRANSFER_IN CLEAR_SUSPENSE UNDO_CLEAR_SUSPENSE RECORD_ORDER REBOOK_ORDER CATCH_UP
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the contract is judged by: protos/, the version, the releases."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    kept = contract.kept_contract(tmp_path).stem
    replace(tmp_path / "pyproject.toml", f'version = "{contract.coming_version(tmp_path)}"', f'version = "{kept}"')
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def raised(project: Path) -> str:
    """Let the next release be one that may break callers; returns its version."""
    major, minor, _ = contract.parsed(contract.coming_version(project))
    coming = f"{major + 1}.0.0" if major else f"0.{minor + 1}.0"
    replace(project / "pyproject.toml", f'version = "{contract.coming_version(project)}"', f'version = "{coming}"')
    return coming


def test_the_contract_of_the_last_release_is_kept_and_callers_of_it_are_not_broken_unannounced() -> None:
    assert contract.check(ROOT) is None


def test_what_is_added_breaks_nobody(project: Path) -> None:
    replace(project / "protos/jzb/v1/payment.proto", "message PayRequest {", "message Added {}\nmessage PayRequest {")
    assert contract.kept_contract(project).stem == contract.coming_version(project)
    assert contract.check(project) is None


def test_a_field_that_is_renamed_is_named_until_the_version_says_that_callers_break(project: Path) -> None:
    replace(project / "protos/jzb/v1/payment.proto", " payer_member_id = ", " who_pays = ")
    wrong = contract.check(project)
    assert wrong is not None
    assert 'from "payer_member_id" to "who_pays"' in wrong
    raised(project)
    assert contract.check(project) is None


def test_a_message_that_moves_to_another_file_breaks_callers_who_compile_files(project: Path) -> None:
    text = (project / "protos/jzb/v1/refund.proto").read_text("utf-8")
    (project / "protos/jzb/v1/refund.proto").unlink()
    (project / "protos/jzb/v1/giving_back.proto").write_text(text, "utf-8")
    assert "refund.proto" in (contract.check(project) or "")


def test_a_contract_that_does_not_compile_is_no_announced_change(project: Path) -> None:
    raised(project)
    replace(project / "protos/jzb/v1/payment.proto", "message PayRequest {", "message PayRequest {{")
    assert "payment.proto" in (contract.check(project) or "")


def test_a_release_keeps_its_contract_once_and_is_not_forgotten(project: Path) -> None:
    replace(project / "protos/jzb/v1/payment.proto", " payer_member_id = ", " who_pays = ")
    coming = raised(project)
    replace(project / "CHANGELOG.md", "## Unreleased\n", f"## Unreleased\n\n## {coming} (today)\n")
    assert "make contract" in (contract.check(project) or "")
    assert contract.keep(project) is None
    assert contract.kept_contract(project).stem == coming
    assert contract.check(project) is None
    assert "kept already" in (contract.keep(project) or "")
    replace(project / "protos/jzb/v1/payment.proto", " who_pays = ", " payer = ")
    assert 'from "who_pays" to "payer"' in (contract.check(project) or "")


@pytest.mark.parametrize(
    ("released", "coming", "may"),
    [
        ("0.1.0", "0.1.0", False),
        ("0.1.0", "0.1.9", False),
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "0.10.0", True),
        ("0.9.0", "1.0.0", True),
        ("0.2.0", "0.1.0", False),
        ("1.0.0", "1.9.0", False),
        ("1.9.0", "2.0.0", True),
    ],
)
def test_until_1_0_a_minor_version_may_break_and_then_a_major_one(released: str, coming: str, may: bool) -> None:
    assert contract.may_break(contract.parsed(released), contract.parsed(coming)) == may


def test_the_journal_has_each_kind_under_the_text_that_its_seals_are_over() -> None:
    assert {kind.value for kind in OperationKind} >= set(STORED_BY_0_2_0.split())
    assert {kind.name: kind.value for kind in OperationKind if kind.name != kind.value} == {
        "OPENING_BALANCE": "ADOPTION",
        "ALLOCATE_SUSPENSE": "CLEAR_SUSPENSE",
        "REVERSE_SUSPENSE_ALLOCATION": "UNDO_CLEAR_SUSPENSE",
    }
