# A command: nothing here is for programs to import.
