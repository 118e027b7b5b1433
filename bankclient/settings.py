"""What one platform needs to speak with the bank (transport.md 1.1, 1.2 and 2.2).

Promises that settings which parse are consistent among themselves. Files are opened later, by
`BankClient.start`. There is no default address: the bank gives it in writing. Passwords stay
wrapped in SecretStr and must never be printed.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
)

from bankclient.canonical import ONE_FIELD
from bankclient.outcome import SUCCESS_CODE, UNKNOWN_CODES
from bankclient.sdk_password import SDK_PASSWORD, plain_password
from bankclient.signing import DnStyle

# The bank's SDK sends these and the ports agree that none is checked (transport.md 2.2).
DEFAULT_PUBLIC_FIELDS: Final = {
    "ApiVersionNo": "1.0.7",
    "RequestMode": "json",
    "ValidTerm": "20170801",
}

CLIENT_FIELDS: Final = frozenset(
    {
        "AppAccessToken",
        "ApplicationID",
        "CnsmrSeqNo",
        "FundSummaryAcctNo",
        "MrchCode",
        "RsaSign",
        "SDKType",
        "TxnCode",
        "TxnTime",
    }
)
"""Fields that the client writes into every request; no message and no setting may carry them."""


def _safe_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("is not an https:// address")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("is http://, which is allowed for this machine's own addresses only")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("may hold scheme, host, port and path only")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


Url = Annotated[str, AfterValidator(_safe_url)]
ProxyUrl = Annotated[str, StringConstraints(pattern=r"^http://[0-9A-Za-z.\[\]:-]+$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
PublicName = Annotated[str, StringConstraints(pattern=r"^[^&=]+$")]
PublicText = Annotated[str, StringConstraints(pattern=ONE_FIELD)]
ReturnCode = Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{5,8}$")]

BACKOFF_MAX_S: Final = 0.5
"""The longest pause between two tries to connect."""


class BankSettings(BaseModel):
    """Where the bank is, who we are, and how patient we are."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    base_url: Url
    """PUBLIC_URL: the gateway, without the path of a call."""
    file_url: Url | None = None
    """The file service, ending in /file; needed for reconciliation files only."""
    file_password: SecretStr | None = None
    """Password of the file user, plain or as the bank's SDK writes it (${3DES}...), which is decoded when settings are
    read; None sends the uid, as the samples do (transport.md 5.3)."""
    file_piece_url: Literal["auth", "server_name"] = "auth"
    """Where pieces are fetched: at the address that granted access, as the bank's SDK does, or under the ServerName in
    the file service's answer (transport.md 5.2)."""
    file_bytes_max: Annotated[int, Field(ge=1024, le=2**32)] = 64 * 1024 * 1024
    """The largest encrypted file that is fetched."""
    file_text_bytes_max: Annotated[int, Field(ge=1024, le=2**32)] = 256 * 1024 * 1024
    """The largest text that is unpacked out of one."""
    app_id: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=ONE_FIELD)]
    """APP_ID, on the wire ApplicationID."""
    mrch_code: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")]
    """The platform's four digits, which begin all its sub-account numbers."""
    fund_summary_acct_no: Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=ONE_FIELD)]
    """The pooled account behind every sub-account."""
    uid: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]{6}$")]
    """The user short number: prefix of every CnsmrSeqNo, and user of the file service."""
    pfx_path: Path
    pfx_password: SecretStr
    bank_certificate_path: Path
    """The bank's certificate, PEM or DER. While the bank changes it, both: one PEM file with the one behind the other.
    """

    dn_style: DnStyle = "compact"
    """How approveDev writes the certificate's subject; both are seen (transport.md 1.3)."""
    txn_code_prefix: Annotated[str, StringConstraints(max_length=10, pattern=ONE_FIELD)] = "KFEJZB"
    """Before the interface code in TxnCode; the quick start prints KEJZB, every program KFEJZB."""
    extra_public_fields: dict[PublicName, PublicText] = Field(default_factory=lambda: dict(DEFAULT_PUBLIC_FIELDS))
    """More fields for every request, signed with the rest."""
    service_ids: dict[str, str] = Field(default_factory=dict)
    """Service ids by interface code, for those that no public source gives: 6133, 6134, 6165, 6167.

    An entry also replaces the published id of its interface.
    """

    clean_refusals: tuple[ReturnCode, ...] = ()
    """Codes that prove that the bank refused and did nothing, in addition to `CLEAN_REFUSALS` of the code (JSON).

    Only for codes that the bank has confirmed in writing: such an answer gives a hold back without a query.
    """

    ca_bundle: Path | None = None
    """PEM file of the authorities that may vouch for the bank's server; None for the usual ones."""
    proxy: ProxyUrl | None = None
    """http:// address of a proxy through which the bank is reached; TLS ends at the bank. None: no proxy, whatever the
    environment says."""
    connect_timeout_s: Seconds = 5.0
    timeout_s: Seconds = 30.0
    """How long an answer may take after the connection stands; then the outcome is unknown."""
    pool_timeout_s: Seconds = 30.0
    """How long a call may wait for a free connection before it gives up, unsent."""
    connect_tries: Annotated[int, Field(ge=1, le=10)] = 3
    keepalive_s: Seconds = 15.0
    """How long an idle connection is kept; shorter than the bank's own limit, or answers get lost.
    """
    max_connections: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How many calls are at the bank at once; the others wait for a connection, `pool_timeout_s` at most."""
    queries_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Which share of `max_connections` may be taken by queries, at least one: however many callers ask the bank for
    something, the rest is there for calls that move money."""
    signing_threads: Annotated[int, Field(ge=1, le=64)] = 2
    token_renew_s: Seconds = 6600.0
    """Age at which the access token is renewed; the bank's own limit is unknown (transport.md 1.4).
    """
    token_retry_s: Seconds = 10.0
    """Pause after a failed renewal in the background."""

    @property
    def queries_max(self) -> int:
        """How many queries are at the bank at once."""
        return max(1, int(self.max_connections * self.queries_share))

    @property
    def call_max_s(self) -> float:
        """The longest that a call can take: it waits, finds its token refused, has another made, and is sent again."""
        post_s = self.connect_tries * (self.connect_timeout_s + BACKOFF_MAX_S) + self.timeout_s
        return self.pool_timeout_s + 3 * post_s

    @field_validator("file_password")
    @classmethod
    def _password_is_plain(cls, password: SecretStr | None) -> SecretStr | None:
        if password is None or not password.get_secret_value().startswith(SDK_PASSWORD):
            return password
        return SecretStr(plain_password(password.get_secret_value()))

    @field_validator("pfx_password")
    @classmethod
    def _pfx_password_is_plain(cls, password: SecretStr) -> SecretStr:
        if password.get_secret_value().startswith(SDK_PASSWORD):
            raise ValueError(f"begins with {SDK_PASSWORD}, which only the file user's password may: give the plain one")
        return password

    @field_validator("extra_public_fields")
    @classmethod
    def _public_fields_are_extra(cls, fields: dict[str, str]) -> dict[str, str]:
        if taken := CLIENT_FIELDS & fields.keys():
            raise ValueError(f"{', '.join(sorted(taken))} is written by the client itself")
        return fields

    @field_validator("clean_refusals")
    @classmethod
    def _exceptions_are_no_refusals(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        if never := {SUCCESS_CODE, *UNKNOWN_CODES}.intersection(codes):
            raise ValueError(f"{', '.join(sorted(never))} is no refusal: after it the bank may have acted")
        return codes

    @field_validator("service_ids")
    @classmethod
    def _service_ids_fit_an_address(cls, service_ids: dict[str, str]) -> dict[str, str]:
        for code, service_id in service_ids.items():
            if not (service_id.isascii() and service_id.isalnum() and len(service_id) <= 30):
                raise ValueError(f"the service id of {code} is not 1 to 30 letters and digits")
        return service_ids
