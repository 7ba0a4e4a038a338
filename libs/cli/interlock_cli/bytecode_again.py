"""Imported first by the fork server, which inherits the interpreter's flag but not the variable behind it."""

from interlock_cli.bytecode import write_again

write_again()
