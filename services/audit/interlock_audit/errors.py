"""What audit refuses, and why.

InterlockError
├── PermissionDenied
│   └── ReadingDenied       403  the trail is for administrators and those with admin.security_audit
├── NotFound
│   ├── RecordNotFound      404  no record has this id
│   └── NoCheckpoint        404  nothing was recorded yet, so nothing was signed
├── InvalidInput
│   └── NoSuchTree          400  a tree size that the log does not have, or an order that makes no sense
├── Unavailable
│   ├── NotYetSigned        503  the record is stored; the next checkpoint covers it within a second
│   └── LeaseLost           503  another process writes now; this one steps back
└── ConfigurationError
    ├── KeyUnusable          -   the signing key is missing although it signed, or open to others
    └── TreeInconsistent     -   what is stored is not what was signed: nothing is written until a person looked
"""

from interlock_common.errors import ConfigurationError, InvalidInput, NotFound, PermissionDenied, Unavailable


class ReadingDenied(PermissionDenied):
    code = "audit_reading_denied"


class RecordNotFound(NotFound):
    code = "record_not_found"


class NoCheckpoint(NotFound):
    code = "no_checkpoint"


class NoSuchTree(InvalidInput):
    code = "no_such_tree"


class NotYetSigned(Unavailable):
    code = "not_yet_signed"


class LeaseLost(Unavailable):
    code = "lease_lost"


class KeyUnusable(ConfigurationError):
    code = "signing_key_unusable"


class TreeInconsistent(ConfigurationError):
    code = "tree_inconsistent"
