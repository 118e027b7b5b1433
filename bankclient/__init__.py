"""The client of the bank's open platform: typed messages, signing, one classified answer a call.

What lives here is the wire of transport.md and the interfaces of catalogue.yaml, nothing of the
ledger and nothing of gRPC. `BankClient.call` takes a request message and a serial and says DONE,
REFUSED, UNKNOWN or NOT_SENT; it never guesses. Others import from this page only.

Amounts, the clock and the errors are loaded at once; who needs no more, such as a command that prints amounts, waits
for nothing else. All else is loaded, whole, when a part of it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from bankclient.money import STATED_FEN_MAX as STATED_FEN_MAX
from bankclient.money import fen as fen
from bankclient.money import yuan as yuan
from bankclient.wallclock import BANK_ZONE as BANK_ZONE
from bankclient.wallclock import wall_clock as wall_clock
from bankclient.wallclock import wall_clock_ns as wall_clock_ns

if TYPE_CHECKING:
    from bankclient.interface import *
else:

    def __getattr__(name: str) -> Any:
        # Python itself looks up names such as __path__, which mean nothing here.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module("bankclient.interface"), name)
