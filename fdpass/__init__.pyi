import os
import socket
from typing import (
    Any,
    Iterable,
    List,
    Literal,
    NamedTuple,
    Optional,
    Protocol,
    Tuple,
    Union,
    overload,
)

from typing_extensions import Buffer  # type checkers have it built in

from .channel import Channel as Channel
from .channel import Listener as Listener
from .channel import Message as Message
from .descriptor import FileDescriptor as FileDescriptor

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_Descriptor = Union[int, _HasFileno]
_Socket = Union[socket.socket, _Descriptor]
_Data = Union[Buffer, Iterable[Buffer]]
_Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
_Address = Any  # as socket.recvfrom gives it: it depends on the family

__version__: str
__all__: List[str]

def CMSG_LEN(__length: int) -> int: ...
def CMSG_SPACE(__length: int) -> int: ...

MAX_FDS: int
MSG_CMSG_CLOEXEC: int
MSG_CTRUNC: int
MSG_NOSIGNAL: int
SCM_CREDENTIALS: Optional[int]
SCM_PIDFD: Optional[int]
SCM_RIGHTS: int
SO_DOMAIN: Optional[int]
SO_PASSCRED: Optional[int]
SO_PEERCRED: Optional[int]
SO_PROTOCOL: Optional[int]

class FdPassError(Exception):
    data: bytes
    flags: int
    address: _Address
    received: int
    def __init__(
        self,
        message: str,
        data: bytes = b"",
        flags: int = 0,
        address: _Address = None,
        received: int = 0,
    ) -> None: ...

class LostFdsError(FdPassError): ...
class TooManyFdsError(FdPassError): ...
class ProtocolError(FdPassError): ...

class Received(NamedTuple):
    data: bytes
    fds: List[int]
    flags: int
    address: _Address

class Credentials(NamedTuple):
    pid: Optional[int]
    uid: int
    gid: int

def send_fds(
    sock: _Socket,
    data: _Data,
    fds: Iterable[_Descriptor],
    flags: int = 0,
    address: _Address = None,
) -> int: ...
def sendall_fds(sock: _Socket, data: _Data, fds: Iterable[_Descriptor], flags: int = 0) -> None: ...
def recv_fds(sock: _Socket, bufsize: int, maxfds: int, flags: int = 0) -> Received: ...
def sendmsg(
    sock: _Socket,
    buffers: _Data,
    ancdata: Iterable[Tuple[int, int, Buffer]] = (),
    flags: int = 0,
    address: _Address = None,
) -> int: ...
def recvmsg(
    sock: _Socket, bufsize: int, ancbufsize: int = 0, flags: int = 0
) -> Tuple[bytes, List[Tuple[int, int, bytes]], int, _Address]: ...
def rights(fds: Iterable[_Descriptor]) -> List[Tuple[int, int, bytes]]: ...
def fds_from_ancdata(
    ancdata: Iterable[Tuple[int, int, Buffer]], flags: int = 0, maxfds: Optional[int] = None
) -> List[int]: ...

# An object closes its own descriptor, so it needs dup=True.
@overload
def socket_from_fd(
    fd: int,
    family: Optional[int] = None,
    type: Optional[int] = None,
    proto: Optional[int] = None,
    dup: bool = False,
) -> socket.socket: ...
@overload
def socket_from_fd(
    fd: _HasFileno,
    family: Optional[int] = None,
    type: Optional[int] = None,
    proto: Optional[int] = None,
    *,
    dup: Literal[True],
) -> socket.socket: ...
def peer_credentials(sock: _Socket) -> Credentials: ...
