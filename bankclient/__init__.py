"""The client of the bank's open platform: typed messages, signing, one classified answer a call.

What lives here is the wire of transport.md and the interfaces of catalogue.yaml, nothing of the
ledger and nothing of gRPC. `BankClient.call` takes a request message and a serial and says DONE,
REFUSED, UNKNOWN or NOT_SENT; it never guesses. Others import from this page only.
"""

from bankclient.canonical import canonical_string as canonical_string
from bankclient.client import Around as Around
from bankclient.client import BankClient as BankClient
from bankclient.errors import BankConfigError as BankConfigError
from bankclient.errors import BankError as BankError
from bankclient.errors import BankUnavailable as BankUnavailable
from bankclient.errors import CertificateExpired as CertificateExpired
from bankclient.errors import CertificateMismatch as CertificateMismatch
from bankclient.errors import CertificateMissing as CertificateMissing
from bankclient.errors import CertificateNotYetValid as CertificateNotYetValid
from bankclient.errors import CertificateUnreadable as CertificateUnreadable
from bankclient.errors import DigestRefused as DigestRefused
from bankclient.errors import DrawCodeWrong as DrawCodeWrong
from bankclient.errors import FileAnswerUnclear as FileAnswerUnclear
from bankclient.errors import FileChanged as FileChanged
from bankclient.errors import FileError as FileError
from bankclient.errors import FileNotOneEntry as FileNotOneEntry
from bankclient.errors import FileNotThere as FileNotThere
from bankclient.errors import FilePasswordWrong as FilePasswordWrong
from bankclient.errors import FileQuestionRefused as FileQuestionRefused
from bankclient.errors import FileServerRefused as FileServerRefused
from bankclient.errors import FileTextUnreadable as FileTextUnreadable
from bankclient.errors import FileTooLarge as FileTooLarge
from bankclient.errors import FileTruncated as FileTruncated
from bankclient.errors import FileUnavailable as FileUnavailable
from bankclient.errors import FileZipDamaged as FileZipDamaged
from bankclient.errors import KeyFileMissing as KeyFileMissing
from bankclient.errors import KeyNotRsa as KeyNotRsa
from bankclient.errors import KeyPasswordWrong as KeyPasswordWrong
from bankclient.errors import KeyUnreadable as KeyUnreadable
from bankclient.errors import MessageInvalid as MessageInvalid
from bankclient.errors import ServiceIdMissing as ServiceIdMissing
from bankclient.evidence import NO_EVIDENCE as NO_EVIDENCE
from bankclient.evidence import Evidence as Evidence
from bankclient.evidence import signed_parts as signed_parts
from bankclient.files import BadRow as BadRow
from bankclient.files import Contradiction as Contradiction
from bankclient.files import Examined as Examined
from bankclient.files import FileRow as FileRow
from bankclient.files import LineReader as LineReader
from bankclient.files import NoFile as NoFile
from bankclient.files import OpenFile as OpenFile
from bankclient.files import SealedFile as SealedFile
from bankclient.files import examine as examine
from bankclient.files import fetch_sealed as fetch_sealed
from bankclient.files import opened as opened
from bankclient.messages import *
from bankclient.money import STATED_FEN_MAX as STATED_FEN_MAX
from bankclient.money import fen as fen
from bankclient.money import yuan as yuan
from bankclient.outcome import CLEAN_REFUSALS as CLEAN_REFUSALS
from bankclient.outcome import HISTORY_MESSAGE as HISTORY_MESSAGE
from bankclient.outcome import NO_RECORD as NO_RECORD
from bankclient.outcome import OTHER_CODE as OTHER_CODE
from bankclient.outcome import RETRY_AFTER_S as RETRY_AFTER_S
from bankclient.outcome import SUCCESS_CODE as SUCCESS_CODE
from bankclient.outcome import TOKEN_CODES as TOKEN_CODES
from bankclient.outcome import UNKNOWN_CODES as UNKNOWN_CODES
from bankclient.outcome import Answer as Answer
from bankclient.outcome import AnswerOutcome as AnswerOutcome
from bankclient.serials import booking_date as booking_date
from bankclient.serials import consumer_serial as consumer_serial
from bankclient.serials import days_of_serial as days_of_serial
from bankclient.serials import is_consumer_serial as is_consumer_serial
from bankclient.serials import row_serial as row_serial
from bankclient.settings import CLIENT_FIELDS as CLIENT_FIELDS
from bankclient.settings import BankSettings as BankSettings
from bankclient.signing import BankCertificate as BankCertificate
from bankclient.signing import DnStyle as DnStyle
from bankclient.signing import Identity as Identity
from bankclient.signing import escape_for_approve as escape_for_approve
from bankclient.signing import sign as sign
from bankclient.signing import unescape_from_approve as unescape_from_approve
from bankclient.signing import verify as verify
from bankclient.wallclock import BANK_ZONE as BANK_ZONE
from bankclient.wallclock import wall_clock as wall_clock
from bankclient.wallclock import wall_clock_ns as wall_clock_ns
from bankclient.words import HIDDEN as HIDDEN
from bankclient.words import masked as masked
