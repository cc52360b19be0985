from typing import Iterable, Optional, Tuple, Union

from typing_extensions import Buffer

from .. import _Descriptor

def sendfds(
    fd: _Descriptor,
    msg: Union[str, Buffer],
    flags: int = 0,
    fds: Optional[Iterable[_Descriptor]] = None,
) -> int: ...
def recvfds(
    fd: _Descriptor, len: int, flags: int = 0, numfds: int = 32
) -> Tuple[bytes, Tuple[int, ...]]: ...
def socketpair(family: int, type: int, proto: int = 0) -> Tuple[int, int]: ...
