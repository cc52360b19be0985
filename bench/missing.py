"""Why a row has nothing to measure on this machine."""


class Missing(Exception):
    """The peer is not here; the text says what to install, and how."""
