"""Python 2's side of the system: the calls that its socket module lacks, over the cffi binding.

The binding's calls release the GIL. They are tried first, and waited for only on EAGAIN.
"""

import _socket
import errno
import fcntl
import operator
import os
import socket
import struct
import sys

from ._arguments import INT_MAX, descriptor, integer
from ._closing import close_all
from ._python2_address import decode, encode, fspath  # noqa: F401
from ._waiting import AGAIN, POLLIN, POLLOUT, deadline_after, wait

try:
    from ._binding import ffi, lib
except (ImportError, SystemError) as error:  # SystemError: one built under another dotted name
    raise ImportError(
        "on Python 2, fdpass needs its binding (%s); this builds it, with cffi and a C compiler:"
        " %s %s"
        % (
            error,
            sys.executable or "python",
            os.path.join(os.path.dirname(os.path.abspath(__file__)), "_ffi_build.py"),
        )
    )

BACKEND = "cffi binding"
FORGOTTEN = RuntimeWarning  # 2.7 has no ResourceWarning
monotonic = lib.fdpass_monotonic
CSocket = _socket.socket
# The wrapper of the standard library, whose calls can go to its _socket.socket at once. Where
# gevent has put its own in its place, that one must wait in its own way.
Wrapper = socket._socketobject if socket._socketobject.__module__ == "socket" else None
unpack = ffi.unpack


def sized(function, beside):
    """The macro for lengths that leave room for so many bytes beside, as in Python 3's own."""

    def of_length(length):
        if not 0 <= integer("length", length) <= INT_MAX - function(beside):
            raise OverflowError("no control message has %d bytes" % length)
        return int(function(length))

    return of_length


CMSG_LEN = sized(lib.fdpass_cmsg_len, 0)
CMSG_SPACE = sized(lib.fdpass_cmsg_space, 1)


def constant(name):
    """The system's constant, None where it has none."""
    value = getattr(lib, name) if hasattr(lib, name) else getattr(socket, name, -1)
    return None if value == -1 else value


AF_UNIX, SOCK_STREAM, SOL_SOCKET = socket.AF_UNIX, socket.SOCK_STREAM, socket.SOL_SOCKET
SCM_RIGHTS = constant("SCM_RIGHTS")
SO_DOMAIN = constant("SO_DOMAIN")
SO_PROTOCOL = constant("SO_PROTOCOL")
MSG_DONTWAIT = constant("MSG_DONTWAIT")
F_DUPFD_CLOEXEC = constant("F_DUPFD_CLOEXEC")
DATA_ROOM = ffi.sizeof(ffi.new("fdpass_message *").data)
ANCBUFSIZE = ffi.sizeof(ffi.new("fdpass_message *").control)
read_family = operator.attrgetter("family")
allocate = ffi.new_allocator(should_clear_after_alloc=False)


def failed(number):
    return socket.error(number, os.strerror(number))


def control(fd, *arguments):
    """fcntl(2), failing as the socket calls do: 2.7 has an IOError there."""
    try:
        return fcntl.fcntl(fd, *arguments)
    except IOError as error:
        raise failed(error.errno)


def ints(content):
    """The C ints in a control message's content; a part of one, where it was cut, is left out."""
    count = len(content) // struct.calcsize("i")
    return list(struct.unpack_from("%di" % count, content))


def view(thing):
    """The bytes of thing, None where it has none."""
    if type(thing) is bytes:  # a subclass may say another length than it has
        return thing
    if isinstance(thing, memoryview):  # which 2.7's buffer does not take
        return thing.tobytes()
    # A copy, since a buffer does not keep its bytearray from being resized while a call waits.
    try:
        return bytes(buffer(thing))  # noqa: F821
    except TypeError:
        return None


LARGE, skip = sys.maxsize, buffer  # noqa: F821  (several are joined for the binding anyway)


def whole_socket(sock):
    """The socket.socket of a _socket.socket, which a call of another thread's keeps open."""
    whole = socket.socket(_sock=sock)
    getattr(sock, "_drop", int)()  # PyPy counts the holders of it, and whole is the only one
    return whole


def joined(views):
    return b"".join(map(bytes, views))


def pointer(one):
    return one if type(one) is bytes else ffi.from_buffer(one)


def endpoint(sock, flags):
    """The descriptor of sock, and the flags that let its timeout count."""
    inner = sock._sock if type(sock) is Wrapper else sock
    if type(inner) is CSocket:
        return inner.fileno(), flags | MSG_DONTWAIT if inner.gettimeout() else flags
    if getattr(sock, "_sslobj", None) is not None:
        # As Python 3's do. What went past the encryption would be read in clear, and unnoticed.
        raise NotImplementedError("sendmsg and recvmsg are not for %s" % type(sock).__name__)
    return descriptor(sock), flags | MSG_DONTWAIT if timeout_of(sock) else flags


def timeout_of(sock):
    """The timeout of a socket object; what is none acts at once, as its descriptor does."""
    gettimeout = getattr(sock, "gettimeout", None)
    return 0.0 if gettimeout is None else gettimeout()


def again(number, sock, fd, event, flags, deadline):
    """After a call that failed with that errno: the deadline to try again under, or the error."""
    if number == errno.EINTR:
        return deadline
    timeout = timeout_of(sock)
    blocks = number in AGAIN and not control(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    if timeout is None and (blocks or flags & MSG_DONTWAIT):
        timeout = 0  # it has waited, for as long as SO_RCVTIMEO or SO_SNDTIMEO let it
    if number not in AGAIN or timeout == 0:
        raise failed(number)
    if deadline is None:
        deadline = deadline_after(timeout, monotonic)
    wait(fd, event, deadline, monotonic)
    return deadline


def send_rights(sock, buffers, fds, flags, address):
    if address is not None or len(buffers) != 1:
        rights = (SOL_SOCKET, SCM_RIGHTS, struct.pack("%di" % len(fds), *fds))
        return sendmsg(sock, buffers, (rights,), flags, address)
    data = pointer(buffers[0])
    numbers = ffi.new("int[]", fds)  # fds may change while the call waits
    deadline = None
    while True:
        # Anew each time: while it waits, another thread may close sock and reuse its number.
        fd, actual = endpoint(sock, flags)
        sent = lib.fdpass_send(fd, data, len(data), numbers, len(numbers), actual)
        if sent >= 0:
            return sent
        deadline = again(-sent, sock, fd, POLLOUT, flags, deadline)


def sendmsg(sock, buffers, ancdata, flags, address):
    heads, contents = [], []
    for level, kind, content in ancdata:
        heads += [level, kind, len(content)]
        contents.append(content)
    name = b""
    if address is not None:
        name = encode(domain_of(sock), address)
    data = pointer(buffers[0] if len(buffers) == 1 else joined(buffers))
    content = joined(contents)
    deadline = None
    while True:
        fd, actual = endpoint(sock, flags)
        sent = lib.fdpass_sendmsg(
            fd, data, len(data), len(contents), heads, content, actual, name, len(name)
        )
        if sent >= 0:
            return sent
        deadline = again(-sent, sock, fd, POLLOUT, flags, deadline)


def receive(sock, bufsize, flags, ancbufsize=ANCBUFSIZE, as_told=None):
    """(descriptors, or None where ancdata has them still) and what recvmsg gives.

    Or what as_told makes of the message; until it has, whatever raises closes what arrived.
    """
    message = ffi.new("fdpass_message *")
    data = message.data if bufsize <= DATA_ROOM else allocate("char[]", bufsize)
    control = message.control if ancbufsize <= ANCBUFSIZE else allocate("char[]", ancbufsize)
    deadline = None
    try:
        while True:
            fd, actual = endpoint(sock, flags)
            size = lib.fdpass_recvmsg(fd, data, bufsize, control, ancbufsize, actual, message)
            if size >= 0:
                return (as_told or taken)(message, data, size, control)
            deadline = again(-size, sock, fd, POLLIN, flags, deadline)
    except BaseException:
        lib.fdpass_discard(control, message.controllen)
        raise


def taken(message, data, size, control):
    """What recvmsg left there, as receive gives it."""
    if message.nfds < 0:
        return (None,) + raw(message, data, size, control)
    fds = unpack(message.fds, message.nfds)
    return fds, unpack(data, size), (), message.msg_flags, address_in(message)


def raw(message, data, size, control):
    """The same as recvmsg of Python 3 gives it."""
    ancdata = walked(control, message.controllen)
    return unpack(data, size), ancdata, message.msg_flags, address_in(message)


def address_in(message):
    return decode(unpack(message.name, message.namelen))


def walked(control, controllen):
    """The control messages as Python 3 gives them: (level, type, content)."""
    most = controllen // CMSG_LEN(0)
    heads = ffi.new("int[]", 4 * most)
    count = lib.fdpass_walk(control, controllen, heads, most)
    fields = unpack(heads, 4 * count)
    return [
        (level, kind, unpack(control + offset, length))
        for level, kind, offset, length in zip(*[iter(fields)] * 4)
    ]


def recvmsg(sock, bufsize, ancbufsize, flags):
    return receive(sock, bufsize, flags, ancbufsize, raw)


def checked(status):
    """What a call of the binding gave, or the error that it stands for."""
    if status < 0:
        raise failed(-status)
    return status


def getsockopt(sock, level, option, size=0):
    """The option as an int, or as bytes where size (bytes) is given."""
    if hasattr(sock, "getsockopt"):
        return sock.getsockopt(level, option, *([size] if size else []))
    value = ffi.new("char[]", size or ffi.sizeof("int"))
    length = lib.fdpass_getsockopt(descriptor(sock), level, option, value, len(value))
    content = unpack(value, checked(length))
    return content if size else struct.unpack("i", content)[0]


def on_duplicate(sock, call, *arguments):
    """Python 3 needs a socket object for this; the binding takes any descriptor."""
    return call(sock, *arguments)


def domain_of(sock):
    """The address family, from the kernel."""
    if SO_DOMAIN is not None:
        return getsockopt(sock, SOL_SOCKET, SO_DOMAIN)
    return checked(lib.fdpass_sockname_family(descriptor(sock)))


def facts_of(fd):
    """(family, type, protocol or None, whether it blocks), in one call of the binding."""
    facts = ffi.new("int[4]")
    options = [-1 if option is None else option for option in (SO_DOMAIN, SO_PROTOCOL)]
    checked(lib.fdpass_facts(fd, options[0], options[1], facts))
    return facts[0], facts[1], None if facts[2] < 0 else facts[2], not facts[3] & os.O_NONBLOCK


def make_socket(family, type, proto, fd, timeout, dup):
    """A socket object on a duplicate of fd, its mode untouched; without dup, fd is closed then.

    _socket.fromfd duplicates, loses close-on-exec and writes the default timeout's mode into the
    open socket: so it gets a dummy, and the duplicate goes over that. If it raises, fd is open.
    """
    own, dummy = None, []  # a list, so that each number is closed once, whatever raises where
    try:
        dummy.append(lib.fdpass_dummy())
        if dummy[0] < 0:
            checked(dummy.pop())
        own = _socket.fromfd(dummy[0], family, type, proto)
        if own.gettimeout() != timeout:
            own.settimeout(timeout)
        checked(lib.fdpass_dup_over(fd, own.fileno()))
        whole = whole_socket(own)
        close_all(dummy)
    except BaseException:
        close_all(dummy)
        if own is not None:
            own.close()
        raise
    # One expression: fd is not to be closed where what took its place is not handed out.
    return whole if dup else (whole, os.closerange(fd, fd + 1))[0]  # which has no errors
