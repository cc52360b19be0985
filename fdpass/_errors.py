"""The errors for a peer or a kernel that breaks the contract.

Bad arguments raise TypeError and ValueError, and the operating system's errors are OSError.
"""


class FdPassError(Exception):
    """A message did not arrive as it should; every descriptor that came with it is closed.

    ``data`` is the payload that arrived (bytes). ``flags`` and ``address`` are what the system call
    returned with it. ``received`` counts the descriptors that had arrived and are closed now.
    (In a Channel's LostFdsError, all four describe the read that lost descriptors, which got a part
    of the header.)
    """

    def __init__(self, message, data=b"", flags=0, address=None, received=0):
        # args holds everything, so that the exception can be pickled and copied.
        Exception.__init__(self, message, data, flags, address, received)
        self.data = data
        self.flags = flags
        self.address = address
        self.received = received

    def __str__(self):
        return self.args[0]


class LostFdsError(FdPassError):
    """The kernel dropped descriptors on their way into this process (MSG_CTRUNC)."""


class TooManyFdsError(FdPassError):
    """The peer sent more descriptors than the receiver asked for."""


class ProtocolError(FdPassError):
    """A channel's peer sent something that breaks the wire format or a limit.

    ``data`` is what had arrived of the message, from the first byte of its header on. ``received``
    counts its descriptors. ``flags`` and ``address`` are not used.
    """
