"""Python 2's system calls: those that its socket module lacks, through the cffi binding.

The binding's calls release the GIL. Each call is tried first, and waited for only after EAGAIN.
"""

import _socket
import errno
import fcntl
import operator
import os
import socket
import struct
import sys

from ._arguments import INT_MAX, check_int, check_plain_carrier, descriptor_of
from ._closing import close_all
from ._kinds import PLAIN_SOCKETS, counts_as_descriptor, object_timeout
from ._python2_address import decode, encode, fspath  # noqa: F401
from ._waiting import POLLIN, POLLOUT, WOULD_BLOCK, deadline_after, wait

try:
    from ._binding import ffi, lib
except (ImportError, SystemError) as error:  # SystemError: it was built under another dotted name
    raise ImportError(
        "on Python 2, fdpass needs its binding (%s). Build it, with cffi and a C compiler: %s %s"
        % (
            error,
            sys.executable or "python",
            os.path.join(os.path.dirname(os.path.abspath(__file__)), "_ffi_build.py"),
        )
    )

BACKEND = "cffi binding"
CALLED_METHODS = ()  # the binding takes the place of sendmsg and recvmsg
UNCLOSED_WARNING = RuntimeWarning  # 2.7 has no ResourceWarning
monotonic = lib.fdpass_monotonic
CSocket = _socket.socket
# The standard library's wrapper: a call may use the _socket.socket inside it. None if gevent has
# replaced it, because gevent's wrapper has to wait in its own way.
Wrapper = socket._socketobject if socket._socketobject.__module__ == "socket" else None
unpack = ffi.unpack


def constant(name):
    """Return the system's constant, or None if it has none."""
    value = getattr(lib, name) if hasattr(lib, name) else getattr(socket, name, -1)
    return None if value == -1 else value


AF_UNIX, SOCK_STREAM, SOL_SOCKET = socket.AF_UNIX, socket.SOCK_STREAM, socket.SOL_SOCKET
SCM_RIGHTS = constant("SCM_RIGHTS")
SO_DOMAIN = constant("SO_DOMAIN")
SO_PROTOCOL = constant("SO_PROTOCOL")
MSG_DONTWAIT = constant("MSG_DONTWAIT")
F_DUPFD_CLOEXEC = constant("F_DUPFD_CLOEXEC")
DATA_BYTES = ffi.sizeof(ffi.new("fdpass_message *").data)
ANCBUFSIZE = ffi.sizeof(ffi.new("fdpass_message *").control)
MAX_JOINED_BYTES = sys.maxsize  # the binding takes one buffer, so several are joined anyway
read_family = operator.attrgetter("family")
allocate = ffi.new_allocator(should_clear_after_alloc=False)
skip_bytes = buffer  # noqa: F821


def check_length(function, spare):
    """Return function with Python 3's limit on its argument, which leaves room for the header."""

    def checked_function(length):
        if not 0 <= check_int("length", length) <= INT_MAX - function(spare):
            raise OverflowError("no control message has %d bytes" % length)
        return int(function(length))

    return checked_function


CMSG_LEN = check_length(lib.fdpass_cmsg_len, 0)
CMSG_SPACE = check_length(lib.fdpass_cmsg_space, 1)


def send_rights(sock, buffers, fds, flags, address):
    if address is not None or len(buffers) != 1:
        rights = (SOL_SOCKET, SCM_RIGHTS, struct.pack("%di" % len(fds), *fds))
        return sendmsg(sock, buffers, (rights,), flags, address)
    data = pointer_to(buffers[0])
    fds = ffi.new("int[]", fds)  # a copy, since the caller's list may change during a wait
    deadline = None
    while True:
        # Read again after each wait: another thread may have closed sock and reused its descriptor.
        fd, flags_now = endpoint_of(sock, flags)
        sent = lib.fdpass_send(fd, data, len(data), fds, len(fds), flags_now)
        if sent >= 0:
            return sent
        deadline = wait_to_retry(-sent, sock, fd, POLLOUT, flags, deadline)


def sendmsg(sock, buffers, ancdata, flags, address):
    heads, contents = [], []
    for level, kind, content in ancdata:
        heads += [level, kind, len(content)]
        contents.append(content)
    name = b"" if address is None else encode(family_of(sock), address)
    data = pointer_to(buffers[0] if len(buffers) == 1 else join(buffers))
    content = join(contents)
    deadline = None
    while True:
        fd, flags_now = endpoint_of(sock, flags)
        sent = lib.fdpass_sendmsg(
            fd, data, len(data), len(contents), heads, content, flags_now, name, len(name)
        )
        if sent >= 0:
            return sent
        deadline = wait_to_retry(-sent, sock, fd, POLLOUT, flags, deadline)


def recvmsg(sock, bufsize, ancbufsize, flags):
    return receive(sock, bufsize, flags, ancbufsize, as_recvmsg)


def receive(sock, bufsize, flags, ancbufsize=ANCBUFSIZE, convert=None):
    """Return (descriptors, or None if they are still in ancdata) + what recvmsg returns.

    With convert, return what it makes of the message. If this raises, all that arrived is closed.
    """
    message = ffi.new("fdpass_message *")
    data = message.data if bufsize <= DATA_BYTES else allocate("char[]", bufsize)
    control = message.control if ancbufsize <= ANCBUFSIZE else allocate("char[]", ancbufsize)
    deadline = None
    try:
        while True:
            fd, flags_now = endpoint_of(sock, flags)
            size = lib.fdpass_recvmsg(fd, data, bufsize, control, ancbufsize, flags_now, message)
            if size >= 0:
                return (convert or as_received)(message, data, size, control)
            deadline = wait_to_retry(-size, sock, fd, POLLIN, flags, deadline)
    except BaseException:
        lib.fdpass_discard(control, message.controllen)
        raise


def as_received(message, data, size, control):
    """Return the message as receive does."""
    if message.nfds < 0:
        return (None,) + as_recvmsg(message, data, size, control)
    fds = unpack(message.fds, message.nfds)
    return fds, unpack(data, size), (), message.msg_flags, address_in(message)


def as_recvmsg(message, data, size, control):
    """Return the message as Python 3's recvmsg does."""
    ancdata = ancdata_in(control, message.controllen)
    return unpack(data, size), ancdata, message.msg_flags, address_in(message)


def address_in(message):
    return decode(unpack(message.name, message.namelen))


def ancdata_in(control, controllen):
    """Return the control messages as Python 3 does: (level, type, content) each."""
    max_count = controllen // CMSG_LEN(0)
    heads = ffi.new("int[]", 4 * max_count)
    count = lib.fdpass_walk(control, controllen, heads, max_count)
    fields = unpack(heads, 4 * count)
    return [
        (level, kind, unpack(control + offset, length))
        for level, kind, offset, length in zip(*[iter(fields)] * 4)
    ]


def endpoint_of(sock, flags):
    """Return the descriptor of sock, and flags with MSG_DONTWAIT if sock has a timeout."""
    inner = sock._sock if type(sock) is Wrapper else sock
    if type(inner) is CSocket:
        return inner.fileno(), flags | MSG_DONTWAIT if inner.gettimeout() else flags
    if type(sock) is not int:
        check_plain_carrier(sock)
    return descriptor_of(sock), flags | MSG_DONTWAIT if object_timeout(sock) else flags


def wait_to_retry(error_number, sock, fd, event, flags, deadline):
    """After a call failed with this errno, wait and return the deadline, or raise its error.

    The deadline is None before the first wait, and the same for all waits of a call.
    """
    if error_number == errno.EINTR:
        return deadline
    timeout = object_timeout(sock)
    blocks = error_number in WOULD_BLOCK and not call_fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    if timeout is None and (blocks or flags & MSG_DONTWAIT):
        timeout = 0  # the call has waited already, as long as SO_RCVTIMEO or SO_SNDTIMEO allows
    if error_number not in WOULD_BLOCK or timeout == 0:
        raise error_of(error_number)
    if deadline is None:
        deadline = deadline_after(timeout, monotonic)
    wait(fd, event, deadline, monotonic, sock)
    return deadline


def error_of(error_number):
    return socket.error(error_number, os.strerror(error_number))


def check_status(status):
    """Return the status that the binding returned, or raise its error if it is -errno."""
    if status < 0:
        raise error_of(-status)
    return status


def call_fcntl(fd, *arguments):
    """Call fcntl(2). Its error is a socket.error, where 2.7 raises IOError."""
    try:
        return fcntl.fcntl(fd, *arguments)
    except IOError as error:
        raise error_of(error.errno)


def with_socket_object(sock, passed, call, *arguments):
    """Call with sock as it is, because the binding takes any descriptor (unlike Python 3)."""
    return call(sock, *arguments)


def wrap_socket(sock):
    """Return a socket.socket for a _socket.socket.

    If it is closed during a call of another thread, the descriptor stays open until that ends.
    """
    wrapper = socket.socket(_sock=sock)
    getattr(sock, "_drop", int)()  # PyPy counts its holders, and the wrapper is the only one
    return wrapper


def getsockopt(sock, level, option, size=0):
    """Return the option as an int, or as bytes if size (bytes) is given."""
    if type(sock) in PLAIN_SOCKETS or (
        hasattr(sock, "getsockopt") and not counts_as_descriptor(sock)
    ):
        return sock.getsockopt(level, option, *([size] if size else []))
    value = ffi.new("char[]", size or ffi.sizeof("int"))
    length = lib.fdpass_getsockopt(descriptor_of(sock), level, option, value, len(value))
    content = unpack(value, check_status(length))
    return content if size else struct.unpack("i", content)[0]


def family_of(sock):
    """Return the address family from the kernel."""
    if SO_DOMAIN is not None:
        return getsockopt(sock, SOL_SOCKET, SO_DOMAIN)
    return check_status(lib.fdpass_sockname_family(descriptor_of(sock)))


def facts_of(fd):
    """Return (family, type, protocol or None, whether it blocks), by one call of the binding."""
    facts = ffi.new("int[4]")
    options = [-1 if option is None else option for option in (SO_DOMAIN, SO_PROTOCOL)]
    check_status(lib.fdpass_facts(fd, options[0], options[1], facts))
    return facts[0], facts[1], None if facts[2] < 0 else facts[2], not facts[3] & os.O_NONBLOCK


def make_socket(family, type, proto, fd, timeout, dup):
    """Return a socket object on a duplicate of fd, its mode untouched; without dup, close fd.

    _socket.fromfd makes a duplicate without close-on-exec, and gives the open socket the mode of
    the default timeout. So it is called with a dummy, and a duplicate of fd then replaces its own.

    If this raises, fd is open and still the caller's.
    """
    inner, dummy = None, []  # dummy is a list, so that it is closed exactly once
    try:
        dummy.append(lib.fdpass_dummy())
        if dummy[0] < 0:
            check_status(dummy.pop())
        inner = _socket.fromfd(dummy[0], family, type, proto)
        if inner.gettimeout() != timeout:
            inner.settimeout(timeout)
        check_status(lib.fdpass_dup_over(fd, inner.fileno()))
        sock = wrap_socket(inner)
        close_all(dummy)
    except BaseException:
        close_all(dummy)
        if inner is not None:
            inner.close()
        raise
    # In one expression: fd must not be closed if the socket object is not returned.
    return sock if dup else (sock, os.closerange(fd, fd + 1))[0]  # closerange raises no error


def ints_in(content):
    """Return the C ints in a control message's content, without a last one that was cut."""
    count = len(content) // struct.calcsize("i")
    return list(struct.unpack_from("%di" % count, content))


def view_of(given):
    """Return the bytes of an object, or None if it has none."""
    if type(given) is bytes:  # a subclass may claim another length than it has
        return given
    if isinstance(given, memoryview):  # 2.7's buffer does not take it
        return given.tobytes()
    # A copy, because a buffer would let its bytearray be resized during a wait.
    try:
        return bytes(buffer(given))  # noqa: F821
    except TypeError:
        return None


def join(views):
    return b"".join(map(bytes, views))


def pointer_to(view):
    return view if type(view) is bytes else ffi.from_buffer(view)
