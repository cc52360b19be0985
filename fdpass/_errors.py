"""What fdpass raises when the peer or the kernel breaks the contract.

Bad arguments are TypeError and ValueError, and the system's own word is OSError: neither is here.
"""


class FdPassError(Exception):
    """A message did not arrive as it has to; every descriptor that came with it is closed.

    ``data`` is the payload that arrived (bytes), ``flags`` and ``address`` are what the system
    call gave with it, and ``received`` is how many descriptors had arrived before they were closed.
    (A Channel's LostFdsError tells these of the read in which it saw it, a part of the header.)
    """

    def __init__(self, message, data=b"", flags=0, address=None, received=0):
        # All of it goes into args, so that the exception can be pickled and copied.
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
    """What a channel's peer sent is not a message of the wire format, or breaks a limit.

    ``data`` is what had come of the message, from the first byte of its header on, and ``received``
    counts its descriptors; ``flags`` and ``address`` say nothing.
    """
