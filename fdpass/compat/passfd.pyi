from typing import Tuple, Union

from typing_extensions import Buffer

from .. import _Descriptor

def sendfd(sock: _Descriptor, fd: _Descriptor, message: Union[str, Buffer] = "NONE") -> int: ...
def recvfd(sock: _Descriptor, msg_buf: int = 4096) -> Tuple[int, bytes]: ...
