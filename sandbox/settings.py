"""Settings of the sandbox bank, from arguments or from the environment (prefix `SANDBOX_`).

The identifiers default to the quick start's sample platform (section 3.1). Where the bank is silent
or its sources disagree, the choice is a setting here with the default the ledger's mirror shares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from sandbox.books import SpendOrder


class SandboxSettings(BaseSettings):
    """How one sandbox runs and which choices it makes."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_", frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    """0 takes a free port."""
    data_dir: Path | None = None
    """Where keys, the client's settings and the log live. None: nothing outlives the process."""

    mrch_code: str = Field(default="9930", pattern=r"^[0-9]{4}$")
    fund_summary_acct_no: str = Field(default="11004261149702", min_length=1, max_length=32)
    application_id: str = "0db8ed32-4e64-4fa5-be18-0df1b7e0840e"
    uid: str = Field(default="X28550", min_length=6, max_length=6)
    service_ids: dict[str, str] = {}
    """Service ids of the interfaces whose own are not public: interface code to id."""

    token_life_s: float = Field(default=7200.0, gt=0)
    """The bank's own life of a token is unknown (transport.md 1.4). A new one ends no older one."""
    answer_delay_s: float = Field(default=0.0, ge=0)
    """How long every business answer takes longer than it must."""
    remark_directives: bool = True
    """Whether `[[fault]]` in a text of the request asks for that fault."""

    own_funds_fen: int = Field(default=100_000_000, ge=0)
    """What the own-funds account (refund advance of 6164) holds when the books are opened."""
    status_needs_day: bool = False
    """Whether 6110 finds a call older than three days only when TranDate is its day (notes.md 9.14)."""
    spend_order: SpendOrder = "waiting_first"
    """Which part of available money goes first (not public)."""
    top_up_amount: Literal["gross", "net"] = "gross"
    """Whether MemberFillAmt of 6129 includes its Commission (quick start) or not (notes.md 9.1)."""
    order_in_parts: bool = True
    """Whether flags 2 and 3 of 6034, 6031 and the batches may take less than an order holds (notes.md 13)."""
    payees_max: int = Field(default=5, ge=1)
    """How many rows 6163 may have (EF0048)."""
    acquired_fee: Literal["at_release", "at_entry"] = "at_release"
    """When the fee of a share that an acquired order freezes is taken (notes.md 13)."""
    transferred_money: Literal["waiting", "withdrawable"] = "waiting"
    """When a member may withdraw what it transferred from its bound card (not public)."""
    refund_window_days: int = Field(default=30, ge=0)
    """How long after its booking day a payment can be refunded (6164)."""
    searching_history_code: str = "ERR270"
    """Code beside the history message of 6164; the quick start gives the message alone."""
    withdrawal_delay_s: float = Field(default=1.0, ge=0)
    """How long an accepted withdrawal stays 5, then 6, before it is final."""
    bound_cards_only: bool = True
    """Whether a withdrawal goes to a bound card only, as at the bank."""
    shared_cards: bool = False
    """Whether one card may be bound to sub-accounts of several customers (on request, 6066)."""
    any_code: bool = False
    """Whether any six digits pass in 6067, and the amount of 6055 is 0.01, as in the bank's test environment."""
    file_password: str | None = None
    """Password of the file user; None is the uid, as in the samples (transport.md 5.3)."""
    file_path_has_name: bool = True
    """Whether FilePath of 6103 holds the file's name already (transport.md 5.1: sources differ)."""
    file_pieces_at: Literal["auth", "both"] = "auth"
    """Where pieces are served: at the address of the right alone, as at the bank, or under ServerName as well."""
    file_piece_bytes: int = Field(default=65536, ge=64)
    """How much of a file the file server gives at once."""
    clear_same_day: bool = False
    """Whether a 6108 for the current day clears that day at once."""
