"""Imported first by the fork server: it ends with the supervisor, and lets its children keep bytecode.

By itself a fork server lives as long as any of its children; so the children of a killed supervisor would stay.
"""

from interlock_cli.bytecode import write_again
from interlock_cli.lifeline import die_with_parent

die_with_parent()
write_again()
