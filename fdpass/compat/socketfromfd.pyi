import socket

from .. import _Descriptor

def fromfd(fd: _Descriptor, keep_fd: bool = True) -> socket.socket: ...
