"""The errors of the connector.

UpstreamFailed
├── CommandNotAllowed   CONNECTOR_COMMANDS does not name it
└── EnvironmentSealed   its secret environment cannot be opened here
TooManyRequests
└── TooManyProcesses    MAX_PROCESSES run, and none of them is idle
Unavailable
└── KeepsEnding         the command ended too often; the next try is later
"""

from interlock_common.errors import TooManyRequests, Unavailable, UpstreamFailed


class CommandNotAllowed(UpstreamFailed):
    code = "command_not_allowed"
    retryable = False


class EnvironmentSealed(UpstreamFailed):
    code = "environment_sealed"
    retryable = False


class TooManyProcesses(TooManyRequests):
    code = "too_many_processes"


class KeepsEnding(Unavailable):
    code = "keeps_ending"
