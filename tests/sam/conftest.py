"""The command that these tests type."""

from command_line import bytecode, dispatch

__all__ = ["bytecode", "dispatch"]
