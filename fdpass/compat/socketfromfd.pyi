import socket
from typing import Literal, overload

from .. import _Descriptor

@overload
def fromfd(fd: _Descriptor, keep_fd: Literal[True] = True) -> socket.socket: ...
@overload
def fromfd(fd: int, keep_fd: bool = True) -> socket.socket: ...
