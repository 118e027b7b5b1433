"""Every error of this package, and what each says about the money.

    BankError
    ├── MessageInvalid            a value breaks a rule of the wire; nothing was sent
    ├── BankUnavailable           no access token could be had; nothing was sent
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
