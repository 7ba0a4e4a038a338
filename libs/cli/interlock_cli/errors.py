"""Why the command ends without having done what it was asked.

CommandError         1  with a sentence for the person who typed it
├── StateUnusable    2  the state folder, a setting or a program is not usable
├── PortTaken        3  somebody else listens there
├── AlreadyRunning   4  one stack per state folder
├── NotRunning       5  this needs a running stack
├── Refused          6  the gateway knows the caller, or not, and will not (client.py)
├── NotThere         7  there is no such thing (client.py)
├── RuleBroken       8  what was asked breaks a rule of the gateway (client.py)
├── Interrupted    130  a signal came before the end
└── ProcessFailed    1  a process of the stack ended and cannot be kept alive; shows the end of its log
"""

from typing import ClassVar


class CommandError(Exception):
    """Base of what is shown as ``error: …``; ``exit_code`` is what scripts see."""

    exit_code: ClassVar[int] = 1

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class StateUnusable(CommandError):
    exit_code = 2


class PortTaken(CommandError):
    exit_code = 3


class AlreadyRunning(CommandError):
    exit_code = 4


class NotRunning(CommandError):
    exit_code = 5


class ProcessFailed(CommandError):
    exit_code = 1


class Interrupted(CommandError):
    exit_code = 130
