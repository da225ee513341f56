"""Modules that every part of the program may use; they import no other part of it."""

__version__ = "0.2.0"  # pyproject.toml and --version read it from here
