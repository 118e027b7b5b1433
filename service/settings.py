"""All settings of the service, from the environment (``JZB_…``, ``DATABASE_URL``) and checked when the process starts.

Nested settings use two underscores: ``JZB_BANK__BASE_URL``, ``JZB_RESOLVER__ASK_AFTER_S``. Where the bank's
documents are silent, a setting stands with the default that the quick start supports; docs/bank.md lists them.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bankclient import REQUESTS, BankSettings
from ledger import SealKeys, SpendOrder, session
from service import secret_files
from service.vault import Vault, VaultKeyWrong, key_bytes

Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]


class ResolverSettings(BaseModel):
    """When the bank is asked about operations that are not final (quick start: 6110)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    orphan_after_s: Seconds = 240.0
    """A reservation of this age is an orphan: its process died, or PostgreSQL was away when it would have been settled.
    Must exceed the longest call (`BankSettings.call_max_s`). A process that is asked to stop marks what it leaves."""
    ask_after_s: Seconds = 10.0
    """From an unknown outcome, or an acceptance, to the first question."""
    not_found_interval_s: Seconds = 240.0
    """Between two ERR020 that count (the quick start: 3 to 5 minutes)."""
    not_found_times: Annotated[int, Field(ge=1, le=100)] = 5
    """This many ERR020 in a row, far enough apart, mean that the bank did nothing."""
    in_process_interval_s: Seconds = 300.0
    """Between two questions while the bank says 2, 5 or 6."""
    accepted_long_s: Seconds = 3600.0
    """An order that the bank took so long ago and has not ended counts as money in doubt (`jzb.doubt.amount`)."""
    send_again_interval_s: Seconds = 300.0
    """Between two tries of a refund whose payment the bank searches in its history (the quick start: 5 minutes)."""
    send_again_times: Annotated[int, Field(ge=1, le=10_000)] = 24
    """After so many tries, those that came when they were due, the bank's signed "not found" is taken for the refusal
    it is."""
    silent_interval_s: Seconds = 60.0
    """After a question that failed."""
    poll_s: Seconds = 1.0
    """How often due operations are looked for."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    """Questions under way at once in one process."""


class BreakerSettings(BaseModel):
    """When an interface of the bank that does not answer gets no more calls. Each process finds out for itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    failures: Annotated[int, Field(ge=1, le=100_000)] | None = 10
    """This many calls in a row without a signed answer open the breaker; None switches it off."""
    open_s: Seconds = 10.0
    """How long it stays open before one call is let through on trial."""


class GrpcSettings(BaseModel):
    """The server's own limits, on reads too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rpcs_max: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """RPCs under way at once, streams too; the next one is refused unread. More than `call_concurrency`, so that reads
    and repeated requests are answered while no payment gets in."""
    message_bytes_max: Annotated[int, Field(ge=64 * 1024, le=2**31 - 1)] = 256 * 1024
    """The largest request. No call of the contract that the bank would take is longer."""
    keepalive_s: Seconds = 60.0
    """After so much silence a caller is pinged, and taken for gone when it does not answer in 20 seconds: a watch of a
    caller that vanished would stay for ever. gRPC's own default is two hours."""
    ping_min_s: Annotated[float, Field(ge=0.001, le=7200)] = 5.0
    """The shortest time between two pings of a caller, on idle connections too; who pings more often is sent away
    (GOAWAY too_many_pings). Clients of most languages ping every 10 seconds at the most."""
    leave_s: Annotated[float, Field(ge=0, le=600)] = 0.5
    """From SIGTERM, when the health says NOT_SERVING, to the end of new connections: a part of `drain_s` in which
    callers that watch the health leave by themselves, and others are refused with a reason."""
    streams_max: Annotated[int, Field(ge=1, le=1_000_000)] = 2_000
    """RPCs under way at once on one connection, streams too; the next one waits at its caller."""
    connection_idle_s: Seconds = 900.0
    """Connections without a call for so long are closed; a client opens its next by itself."""
    connection_age_s: Seconds | None = 3600.0
    """Connections of this age are asked to be made anew, calls under way unharmed: callers behind a balancer of
    connections find new processes, and a certificate that was revoked is looked at again; None leaves them."""
    refusals_at_once: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Requests that cannot be right, or may not be made, which a caller is refused without waiting."""
    refusals_per_s: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    """The same on the long run; for more its refusals come later, each within half of its deadline."""
    comparisons_of_a_caller_max: Annotated[int, Field(ge=1, le=1_000_000)] = 2
    """Comparisons with the bank and replays of the books that one caller may have under way."""
    reflection: bool | None = None
    """Whether callers without the contract may read it here (server reflection); None means on loopback only."""


class WatchSettings(BaseModel):
    """Callers who follow operations or wait for one (`OperationService`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    watches_max: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000
    """Watches and waits open at once in a process, apart from `GrpcSettings.rpcs_max`; the next one is refused."""
    of_a_caller_max: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Of these, how many one caller may have open; callers without a certificate are told apart by connection."""
    lag_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Events that are kept for the reader of a watch; one that is further behind is ended with WATCH_TOO_SLOW."""
    heartbeat_s: Seconds = 20.0
    """After so much silence a watch says its cursor."""


class ClearingSettings(BaseModel):
    """The night's clearing (quick start: 6108)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    poll_s: Seconds | None = 900.0
    """How often past days are asked for; None leaves it to `ClearingService.ClearDay`."""


class ReturnsSettings(BaseModel):
    """Withdrawals that the receiving bank sent back (quick start: 6048)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    poll_s: Seconds | None = 1800.0
    """How often they are asked for; None leaves it to `WithdrawalService.CollectReturns`."""
    days: Annotated[int, Field(ge=0, le=31)] = 3
    """How many days before today are asked for each time."""
    name_after_s: Seconds = 21_600.0
    """Between two questions which withdrawal it was: on the day of the return the bank does not say."""


class TransfersSettings(BaseModel):
    """Transfers into the pooled account (catalogue 6050)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    poll_s: Seconds | None = 1800.0
    """How often they are asked for; None leaves it to `SuspenseService.CollectTransfers`."""
    days: Annotated[int, Field(ge=0, le=31)] = 3
    """How many days before today are asked for each time."""


class ReconciliationSettings(BaseModel):
    """The bank's files and lists of a day that is over, beside the journal (quick start 2.3; notes.md 6)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    poll_s: Seconds | None = 600.0
    """How often the days are looked at; None leaves it to `ReconciliationService.RunDay`."""
    files_from_hour: Annotated[int, Field(ge=0, le=23)] = 9
    """From which hour of the next day, in Shanghai, the bank is asked for the files of a day (6103)."""
    files_late_hour: Annotated[int, Field(ge=0, le=23)] = 12
    """From which hour a file is late that has not come, although the journal has bookings that belong into it."""
    days: Annotated[int, Field(ge=1, le=31)] = 7
    """How many days before today are looked at by themselves, as long as they are not signed."""
    again_after_s: Seconds = 86_400.0
    """After so long a file that has come is fetched once more: the bank may have changed it. A changed one is a new
    version."""

    @model_validator(mode="after")
    def _are_late_after_they_are_due(self) -> ReconciliationSettings:
        if self.files_late_hour < self.files_from_hour:
            raise ValueError(f"files_late_hour {self.files_late_hour} is before files_from_hour {self.files_from_hour}")
        return self


class RulesSettings(BaseModel):
    """Choices where the bank's documents are silent or disagree; ask the bank (docs/bank.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    spend_order: SpendOrder = "waiting_first"
    """Which part of available money a T+1 payment or a freeze takes first."""
    top_up_amount: Literal["gross", "net"] = "gross"
    """What MemberFillAmt of 6129 means (notes.md 9.1)."""
    top_up_amount_confirmed: bool = False
    """Whether the bank has confirmed `top_up_amount`. Until then, a second 6129 with a fee is sent only after 6010 and
    6037 have shown that bank and mirror booked the first one alike (`service.questions.top_up_reading`)."""
    order_in_parts: bool = False
    """Whether a prepaid order may be confirmed or cancelled in parts (notes.md 13)."""
    payees_max: Annotated[int, Field(ge=1, le=100)] = 5
    """How many payees one payment of frozen money may have (EF0048: 1 to 5)."""
    acquired_fee: Literal["at_release", "at_entry"] = "at_release"
    """When the bank takes the fee of a share that an acquired order freezes (PayModel 0): with the first release or
    payment, and the whole share is frozen until then; or when it books the order (notes.md 13)."""
    confirmed_money: Literal["uncleared", "withdrawable"] = "uncleared"
    """When the payee of a confirmed order may withdraw."""
    transferred_money: Literal["uncleared", "withdrawable"] = "uncleared"
    """When a member may withdraw what it transferred from its bound card (6050, InAcctType 02)."""
    frozen_amount_includes_escrow: bool = False
    """Whether SubAcctFreezeAmt of 6037 includes prepaid orders (notes.md 9.8)."""
    verification: Annotated[tuple[Literal["none", "sms", "password"], ...], Field(min_length=1)] = ("none",)
    """The verification modes that the bank has opened for the platform (quick start 2.5; notes.md 4)."""
    sms_payee_field: Literal["Remark", "ReservedMsg"] = "Remark"
    """Where 6082 names the receiving sub-account (notes.md 9.5)."""
    revoked_order: Literal["original", "new"] = "original"
    """SubOrderRefundOrderNo of 6217: the share's own order number again, or a new one (catalogue 6217)."""
    batch_direct_pay: bool = False
    """Whether the bank has opened flag 3 of 6052, 6120 and 6133. According to the quick start it is not offered."""
    close_while_refundable: bool = False
    """Whether a member may be closed while a payment, a top-up or a suspense allocation of the last
    `refund_window_days` could still be given back to it or by it. After the closing this is no longer possible."""
    refund_window_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long a payment can be refunded; more than 30 only if the bank has configured it."""
    fee_suffix: Annotated[str, Field(pattern=r"^[0-9]{12}$")] = "000000000003"
    """The fee sub-account's number behind the platform's four digits (quick start, 6164 branch 6)."""
    own_funds_property: Annotated[str, Field(pattern=r"^[0-9]{1,2}$")] = "10"
    """SubAcctProperty, in 6010 flag 3, of the account that advances fee refunds."""
    parking_property: Annotated[str, Field(pattern=r"^[0-9]{1,2}$")] = "22"
    """SubAcctProperty, in 6010 flag 3, of the account that parks acquired orders (quick start 2.4)."""


class CardsSettings(BaseModel):
    """The bank's limits on binding cards (quick start: 会员注册与绑定), each of which it changes on request."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    sms_life_s: Seconds = 120.0
    """How long the code of 6066 can be handed in."""
    sms_checks_a_day: Annotated[int, Field(ge=1, le=1000)] = 6
    """How often one card may be checked by 6066 on one day."""
    wrong_answers: Annotated[int, Field(ge=1, le=1000)] = 5
    """This many wrong codes, or wrong amounts, end a check."""
    transfer_life_s: Seconds = 48 * 3600.0
    """How long the amount of 6055 can be handed in."""
    pay_out_interval_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 24 * 3600.0
    """From one pay-out of 6055 to a member to the next."""
    shared: bool = False
    """Whether one card may be bound to sub-accounts of several customers."""


class VaultSettings(BaseModel):
    """The keys under which personal values are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[SecretStr, ...] = ()
    """32 random bytes in Base64 each: the first seals, the others open what `jzb vault rotate` has yet to move."""
    retired_keys: tuple[SecretStr, ...] = ()
    """Keys of before `jzb vault rotate`. They open no personal value; they recognise repeats of the requests of
    their time, and open the bank's signed answers of it (`jzb evidence`)."""

    def of(self, platform: str) -> Vault:
        """The vault of a platform."""
        keys, retired = ([key.get_secret_value() for key in found] for found in (self.keys, self.retired_keys))
        return Vault(keys, platform, retired)

    @field_validator("keys", "retired_keys")
    @classmethod
    def _are_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        return _checked(keys)


class SealSettings(BaseModel):
    """The keys of the MACs over what the ledger writes, which the database does not have (docs/seals.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[SecretStr, ...] = ()
    """32 random bytes in Base64 each: the first makes MACs, the others check what is older."""

    @field_validator("keys")
    @classmethod
    def _are_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        return _checked(keys)

    @property
    def bytes(self) -> tuple[bytes, ...]:
        """The keys themselves."""
        return tuple(key_bytes(key.get_secret_value()) for key in self.keys)

    def of(self, platform: str) -> SealKeys | None:
        """The keys of a platform's books; None where there are none."""
        return SealKeys(platform, self.bytes) if self.keys else None


class AnchorSettings(BaseModel):
    """Where the end of the chain of seals is noted, beside the log; it is compared there too (docs/seals.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = None
    """A file that is appended to, on another machine or where nobody can change what is written."""
    url: SecretStr | None = None
    """Takes a note by POST, and gives back the last ones of ``?platform=`` by GET, one a line."""


def _checked(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for key in keys:
        try:
            key_bytes(key.get_secret_value())
        except VaultKeyWrong as wrong:
            raise ValueError(str(wrong)) from None
    return keys


ASYMMETRIC = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class OidcSettings(BaseModel):
    """Tokens of people (OpenID Connect). ``issuer`` and ``audience`` must be those of each token."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    issuer: Annotated[str, Field(min_length=1)]
    audience: Annotated[str, Field(min_length=1)]
    jwks: Annotated[str, Field(pattern=r"^(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/]|/)[!-~]+$")]
    """Where the issuer's keys are: an https address, or the absolute path of a file."""
    algorithms: Annotated[tuple[ASYMMETRIC, ...], Field(min_length=1)] = ("RS256", "PS256", "ES256", "EdDSA")
    """With what tokens may be signed: a key that checks must never be one that signs."""


LISTEN_PATTERN = r"^[^\s]+:([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
"""host:port."""


class TelemetrySettings(BaseModel):
    """Traces and metrics over OTLP, metrics for Prometheus; each is off without its address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    otlp_endpoint: str | None = None
    """Base address of an OTLP/HTTP collector, e.g. http://127.0.0.1:4318."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the traces that are recorded, by trace id. A caller's trace id is taken, and not its own decision."""
    metrics_listen: Annotated[str, Field(pattern=LISTEN_PATTERN)] | None = None
    """host:port of `GET /metrics`, e.g. 127.0.0.1:9464. Whoever reaches it reads it: keep it inside."""
    spans_interval_s: Annotated[float, Field(ge=0.01, le=60)] = 0.5
    """Between two exports of spans over OTLP."""
    metrics_interval_s: Seconds = 15.0
    """Between two exports over OTLP, and between two reads of the platform's numbers from the database."""
    jaeger_url: str | None = None
    """Query address of the Jaeger in which `jzb trace` looks, e.g. http://127.0.0.1:16686; without one it looks in the
    spans that a running `jzb run` keeps."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = False


DATABASE_URL: Any = Field(validation_alias=AliasChoices("DATABASE_URL", "JZB_DATABASE_URL", "database_url"))
"""Where the database is, by either name."""


class _Given(BaseSettings):
    """Settings of the environment, whose secrets may be in files (`service.secret_files`); None is written `null`."""

    model_config = SettingsConfigDict(
        env_prefix="JZB_",
        env_nested_delimiter="__",
        env_parse_none_str="null",
        frozen=True,
        extra="ignore",
        populate_by_name=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given to the constructor, then the environment and the files."""
        return init_settings, secret_files.EnvironmentAndFiles(settings_cls)


class Settings(_Given):
    """One platform's service process."""

    database_url: SecretStr = DATABASE_URL
    bank: BankSettings
    listen: str = "127.0.0.1:50051"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    """Whose certificates callers must have; by it their names are known (docs/operations/security.md)."""
    insecure: bool = False
    """Serve in plaintext, or to callers without certificates, on an address that others reach."""
    policy: Path | None = None
    """The file that says which caller may do what (TOML)."""
    oidc: OidcSettings | None = None
    call_concurrency: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """Money calls under way at once; the next one is refused before anything is reserved."""
    interface_concurrency: dict[str, Annotated[int, Field(ge=1)]] = {}
    """The same for the calls of single interfaces, by their codes: {"6033": 50}. Each has its own number, since the
    bank's limits and its speed differ by interface."""
    breaker: BreakerSettings = BreakerSettings()
    grpc: GrpcSettings = GrpcSettings()
    watch: WatchSettings = WatchSettings()
    proposal_life_s: Annotated[float, Field(gt=0, le=30 * 86_400)] = 72 * 3600.0
    """How long what one identity proposes can be approved by another, by PostgreSQL's clock."""
    deadline_min_s: Annotated[float, Field(ge=0, le=60)] = 0.25
    """A call that changes something and whose caller waits less than this is refused before anything is begun."""
    drain_s: Seconds = 30.0
    """How long calls under way may take to finish after SIGTERM; what is left is marked, and resolved by another
    process or after the restart."""
    verify_s: Seconds = 3600.0
    """How long a replay of the books by RPC may take: PostgreSQL cannot clean up behind it."""
    statements_poll_s: Seconds = 1.0
    """How often statements are gone on with in the background; a reader makes what is missing by then."""
    database_connections: Annotated[int, Field(ge=1, le=100)] = 8
    resolver: ResolverSettings = ResolverSettings()
    clearing: ClearingSettings = ClearingSettings()
    returns: ReturnsSettings = ReturnsSettings()
    transfers: TransfersSettings = TransfersSettings()
    reconciliation: ReconciliationSettings = ReconciliationSettings()
    rules: RulesSettings = RulesSettings()
    cards: CardsSettings = CardsSettings()
    vault: VaultSettings = VaultSettings()
    seal: SealSettings = SealSettings()
    anchor: AnchorSettings = AnchorSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @model_validator(mode="before")
    @classmethod
    def _names_each_setting_of_the_bank(cls, values: Any) -> Any:
        """Where nothing is said of the bank, each of its settings is named as missing, and not the group alone."""
        return {"bank": {}, **values} if isinstance(values, dict) else values

    @field_validator("interface_concurrency")
    @classmethod
    def _interfaces_are_known(cls, limits: dict[str, int]) -> dict[str, int]:
        if unknown := sorted(limits.keys() - REQUESTS.keys()):
            raise ValueError(f"the bank has no interface {', '.join(unknown)}")
        return limits

    @field_validator("resolver")
    @classmethod
    def _orphans_are_older_than_any_call(cls, resolver: ResolverSettings, others: ValidationInfo) -> ResolverSettings:
        bank = others.data.get("bank")
        if bank is not None and resolver.orphan_after_s <= bank.call_max_s:
            raise ValueError(
                f"orphan_after_s {resolver.orphan_after_s:g} must be more than {bank.call_max_s:g}, the longest that a"
                " call of the bank can take: pool_timeout_s + 3 x (connect_tries x (connect_timeout_s + 0.5)"
                " + timeout_s)"
            )
        return resolver

    @property
    def platform(self) -> str:
        """The platform's four digits, under which everything is kept."""
        return self.bank.mrch_code

    @property
    def reflects(self) -> bool:
        """Whether callers may read the contract from the service."""
        return is_loopback(self.listen) if self.grpc.reflection is None else self.grpc.reflection

    @property
    def is_exposed(self) -> bool:
        """Whether other machines are in the game: callers come from there, or PostgreSQL is there."""
        return not (is_loopback(self.listen) and session.is_local(self.database_url.get_secret_value()))

    def without_collectors(self) -> Settings:
        """The same, for a process in which nothing is asked for by itself."""
        silent = {"poll_s": None}
        return self.model_copy(
            update={
                "clearing": self.clearing.model_copy(update=silent),
                "returns": self.returns.model_copy(update=silent),
                "transfers": self.transfers.model_copy(update=silent),
                "reconciliation": self.reconciliation.model_copy(update=silent),
            }
        )


def is_loopback(listen: str) -> bool:
    """Whether an address, host:port or unix:path, is reached from this machine alone."""
    if listen.startswith(("unix:", "unix-abstract:")):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def from_environment(**given: Any) -> Settings:
    """The settings of this process; ``given`` wins over the environment. Raises pydantic's ValidationError, and
    `SecretFileWrong`.
    """
    secret_files.require_known(Settings)
    return Settings(**given)


class _DatabaseAlone(_Given):
    database_url: SecretStr = DATABASE_URL


def is_given(*names: str) -> bool:
    """Whether one of these variables is set, or is a secret that is in a file."""
    files = secret_files.paths(Settings)
    return any(os.environ.get(name) or name in files for name in names)


def secrets_that_all_may_read(settings: Settings) -> list[tuple[str, Path]]:
    """The variables and files of secrets and private keys that every user of the machine may read."""
    keys = {"JZB_BANK__PFX_PATH": settings.bank.pfx_path, "JZB_TLS_KEY": settings.tls_key}
    named = {name: path for name, path in keys.items() if path is not None and path.exists()}
    return secret_files.readable_by_all({**secret_files.paths(Settings), **named})


def database_from_environment() -> str:
    """Where the database is, for a command that needs nothing else. Raises pydantic's ValidationError."""
    return _DatabaseAlone().database_url.get_secret_value()


class _TelemetryAlone(_Given):
    telemetry: TelemetrySettings = TelemetrySettings()


def telemetry_from_environment() -> TelemetrySettings:
    """Where traces are, for a command that needs no service. Raises pydantic's ValidationError."""
    return _TelemetryAlone().telemetry


class _PolicyAlone(_Given):
    policy: Path | None = None


def policy_from_environment() -> Path | None:
    """Where the policy is, for a command that needs no service. Raises pydantic's ValidationError."""
    return _PolicyAlone().policy


class _ResolverAlone(_Given):
    resolver: ResolverSettings = ResolverSettings()


def resolver_from_environment() -> ResolverSettings:
    """When operations are asked about, for a command that needs no service. Raises pydantic's ValidationError."""
    return _ResolverAlone().resolver


class _VaultAlone(_Given):
    vault: VaultSettings = VaultSettings()


def vault_from_environment() -> VaultSettings:
    """The keys alone, for a command that needs neither the bank nor a service. Raises pydantic's ValidationError."""
    return _VaultAlone().vault


class _SealAlone(_Given):
    seal: SealSettings = SealSettings()
    anchor: AnchorSettings = AnchorSettings()


def seal_from_environment() -> SealSettings:
    """The keys of seals alone, for a command that needs neither the bank nor a service. Raises ValidationError."""
    return _SealAlone().seal


def anchor_from_environment() -> AnchorSettings:
    """Where seals are noted, for a command that needs neither the bank nor a service. Raises ValidationError."""
    return _SealAlone().anchor
