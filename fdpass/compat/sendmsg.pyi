from typing import List, Optional, Tuple, Union

from typing_extensions import Buffer

from .. import SCM_RIGHTS as SCM_RIGHTS

def sendmsg(
    fd: int,
    data: Union[str, Buffer],
    flags: int = 0,
    ancillary: Optional[Tuple[int, int, Buffer]] = None,
) -> int: ...
def recvmsg(
    fd: int, flags: int = 0, maxsize: int = 8192, cmsg_size: int = 4096
) -> Tuple[bytes, int, List[Tuple[int, int, bytes]]]: ...
