"""The sub-commands of ``python -m fdpass``, a module for each."""
