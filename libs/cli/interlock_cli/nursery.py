"""Imported first by the fork server, so that it ends with the supervisor.

By itself a fork server lives as long as any of its children; so the children of a killed supervisor would stay.
"""

from interlock_common.lifeline import die_with_parent

die_with_parent()
