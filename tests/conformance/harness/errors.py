"""What can keep the suite from being run at all. A scenario that fails is a result, not an error."""


class Unusable(Exception):
    """The suite, an upstream or the gateway could not be brought up; the message says which and why."""


class NotInstalled(Unusable):
    """The registry did not give the suite, which says nothing about the gateway."""
