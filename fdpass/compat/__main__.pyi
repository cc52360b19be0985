# This is a command. Programs import nothing from it.
