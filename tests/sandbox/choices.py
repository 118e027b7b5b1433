"""What tests choose of the sandbox bank: those of its settings, by name and with their types."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict

from sandbox.books import SpendOrder


class BankChoices(TypedDict, total=False):
    """Fields of `SandboxSettings`; what is left out keeps its default."""

    acquired_fee: Literal["at_release", "at_entry"]
    any_code: bool
    bound_cards_only: bool
    clear_same_day: bool
    data_dir: Path
    file_password: str
    file_path_has_name: bool
    file_piece_bytes: int
    file_pieces_at: Literal["auth", "both"]
    order_in_parts: bool
    own_funds_fen: int
    payees_max: int
    refund_window_days: int
    remark_directives: bool
    searching_history_code: str
    service_ids: dict[str, str]
    shared_cards: bool
    spend_order: SpendOrder
    status_needs_day: bool
    token_life_s: float
    top_up_amount: Literal["gross", "net"]
    transferred_money: Literal["waiting", "withdrawable"]
    withdrawal_delay_s: float
