"""Every error of this package, and what each says about the money.

    BankError
    ├── MessageInvalid            a value breaks a rule of the wire; nothing was sent
    ├── BankUnavailable           no access token could be had; nothing was sent
    ├── FileError                 a reconciliation file could not be had or read; no money is concerned
    │   ├── FileUnavailable       the bank or its file server does not answer
    │   ├── FileQuestionRefused   6103 was refused
    │   ├── FileServerRefused     the file server answered an EFS code
    │   │   ├── DrawCodeWrong     EFS0069
    │   │   └── FileNotThere      EFS0012, EFS0021
    │   ├── FileAnswerUnclear     an answer that is no frame, or lists what cannot be
    │   ├── FileTruncated         fewer bytes than there are
    │   ├── FileChanged           the MD5 of the encrypted file is another
    │   ├── FilePasswordWrong     RandomPassword does not decrypt the file
    │   ├── FileZipDamaged        the ZIP's own check fails
    │   ├── FileNotOneEntry       the ZIP holds no file, or several
    │   ├── FileTooLarge          larger than the settings allow
    │   └── FileTextUnreadable    the text is not GB18030
    └── BankConfigError           the settings or key files cannot work; the process must not start
        ├── ServiceIdMissing      an interface without a public service id, and none was configured
        ├── KeyFileMissing        the merchant's PKCS#12 file is not there or cannot be opened
        ├── KeyPasswordWrong      the file is PKCS#12, the password does not open it
        ├── KeyUnreadable         the file is not PKCS#12, or lacks its key or certificate
        ├── KeyNotRsa             the key is of another kind than RSA
        ├── CertificateMissing    the bank's certificate file is not there or cannot be opened
        ├── CertificateUnreadable the file is neither a PEM nor a DER certificate
        ├── CertificateMismatch   the merchant's certificate does not belong to its key
        ├── CertificateExpired    a certificate is past its last day
        ├── CertificateNotYetValid a certificate is before its first day
        └── DigestRefused         this OpenSSL refuses MD5 (FIPS mode)

Bank trouble during a call is not an error: `BankClient.call` returns it as the outcome of an
`Answer`. Messages name files and settings, never a password, a key or a member's personal fields.
"""

from __future__ import annotations

from typing import Any


class BankError(Exception):
    """The root: anything this package raises on purpose."""


class MessageInvalid(BankError, ValueError):
    """A value breaks a rule of the wire. A ValueError too, so that message models can raise it."""


class BankUnavailable(BankError):
    """No access token could be had, so no request was sent and nothing happened at the bank."""


class BankConfigError(BankError):
    """The settings or the key files cannot work; found at start, before any request."""


class ServiceIdMissing(BankConfigError):
    """The interface has no public service id and the setting `service_ids` does not give one."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(
            f"interface {code} has no public service id: "
            f'set service_ids["{code}"] to the one in the bank\'s own document'
        )


class KeyFileMissing(BankConfigError):
    """The merchant's PKCS#12 file (setting `pfx_path`) is not there or cannot be opened."""


class KeyPasswordWrong(BankConfigError):
    """The PKCS#12 file is whole, but the setting `pfx_password` does not open it."""


class KeyUnreadable(BankConfigError):
    """The file is not PKCS#12, or it holds no private key or no certificate."""


class KeyNotRsa(BankConfigError):
    """The key or certificate is not RSA; this generation of the wire knows MD5withRSA only."""


class CertificateMissing(BankConfigError):
    """The bank's certificate file (setting `bank_certificate_path`) cannot be opened."""


class CertificateUnreadable(BankConfigError):
    """The file is neither a PEM nor a DER X.509 certificate."""


class CertificateMismatch(BankConfigError):
    """The certificate in the PKCS#12 file does not belong to the private key beside it."""


class CertificateExpired(BankConfigError):
    """A certificate is past its last day; the message says whose and which day."""


class CertificateNotYetValid(BankConfigError):
    """A certificate is before its first day; the message says whose and which day."""


class DigestRefused(BankConfigError):
    """OpenSSL on this machine refuses MD5, so no request can be signed (FIPS mode)."""


class FileError(BankError):
    """A reconciliation file could not be had or read. Try again; no money is concerned."""

    def __reduce__(self) -> tuple[Any, ...]:
        # It may come out of the process that reads a file; an error is not made anew of its message.
        return _same_error, (type(self), self.args, self.__dict__)


def _same_error(kind: type[FileError], args: tuple[object, ...], values: dict[str, object]) -> FileError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(values)
    return error


class FileUnavailable(FileError):
    """The bank or its file server did not answer, or not in a way that can be understood."""


class FileQuestionRefused(FileError):
    """The bank refused 6103."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"6103 is refused: {code} {message}".rstrip())


class FileServerRefused(FileError):
    """The file server answered a code; `code` as it came."""

    def __init__(self, code: str, meaning: str) -> None:
        self.code = code
        super().__init__(f"the file server refuses: {code} ({meaning})")


class DrawCodeWrong(FileServerRefused):
    """The draw code does not open this file: ask 6103 again."""


class FileNotThere(FileServerRefused):
    """The file server has no file under the path that 6103 gave."""


class FileAnswerUnclear(FileError):
    """An answer about a file that cannot be read, or contradicts itself."""


class FileTruncated(FileError):
    """The file ended early; `stated` is the length the server promised, None when it is no matter of that."""

    def __init__(self, received: int, stated: int | None) -> None:
        self.received = received
        self.stated = stated
        whole = f" of {stated}" if stated is not None else ", which is no whole number of cipher blocks"
        super().__init__(f"the file is cut short: {received} bytes{whole}")


class FileChanged(FileError):
    """At least one byte is not as the file server had it."""

    def __init__(self, stated: str, found: str) -> None:
        self.stated = stated
        self.found = found
        super().__init__(f"the file was changed on the way: MD5 {found}, the server states {stated}")


class FilePasswordWrong(FileError):
    """The whole file is here, and RandomPassword does not decrypt it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the password of the file is wrong: {why}")


class FileZipDamaged(FileError):
    """The decrypted ZIP fails its own check."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the ZIP is damaged: {why}")


class FileNotOneEntry(FileError):
    """The ZIP must hold exactly one file."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        super().__init__(f"the ZIP holds {entries} entries, not one")


class FileTooLarge(FileError):
    """The file is larger than allowed, packed or unpacked."""

    def __init__(self, what: str, most: int) -> None:
        self.most = most
        super().__init__(f"the file is too large {what}: more than {most}")


class FileTextUnreadable(FileError):
    """The text is not GB18030; says the byte and the line."""

    def __init__(self, position: int, line: int) -> None:
        self.position = position
        self.line = line
        super().__init__(f"byte {position} (line {line}) is not GB18030")
