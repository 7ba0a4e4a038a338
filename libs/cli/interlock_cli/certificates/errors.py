"""Why a certificate is not made or not read; each message names the file and what to do.

CertificateError          2  with a sentence for the person who typed it
├── FileUnusable             a file cannot be read or written, or holds something else than it should
├── PassphraseNeeded         a key is encrypted and nobody said how to open it
├── WrongPassphrase          a key is encrypted with another passphrase
├── KeyMismatch              a key and a certificate do not belong together
├── IncompletePair           a certificate is there and its key is not
├── AuthorityUnusable        a CA has expired, is none, or may not sign this
├── AcmeFailed           1  an ACME server does not answer, refuses, or cannot reach us
├── NameRefused              a name that must not become a file, a subject or a host name
└── PluginConfigRefused      the file of the plugins does not say what they are
"""

from interlock_cli.errors import CommandError


class CertificateError(CommandError):
    exit_code = 2


class FileUnusable(CertificateError):
    pass


class PassphraseNeeded(CertificateError):
    pass


class WrongPassphrase(CertificateError):
    pass


class KeyMismatch(CertificateError):
    pass


class IncompletePair(CertificateError):
    pass


class AuthorityUnusable(CertificateError):
    pass


class AcmeFailed(CertificateError):
    exit_code = 1


class NameRefused(CertificateError):
    pass


class PluginConfigRefused(CertificateError):
    pass
