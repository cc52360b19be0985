"""Add to the socket module the names that Python 3.9 has for messages with descriptors.

Python 2.7 lacks all of these names, and 3.3 to 3.8 lack send_fds and recv_fds. A name that exists
stays as it is, whoever put it there. So a second call changes nothing.
"""

import _socket
import array
import io
import socket
import types

from .. import CMSG_LEN, CMSG_SPACE, recv_fds, recvmsg
from .. import send_fds as fdpass_send_fds
from .. import sendmsg as fdpass_sendmsg
from .._closing import close_all
from .._control import descriptors_in
from .._system import constant, view_of, wrap_socket

# Constants of Python 3.9 for sockets of every family. A system may lack some of them.
CONSTANTS = [
    "MSG_CMSG_CLOEXEC",
    "MSG_CONFIRM",
    "MSG_ERRQUEUE",
    "MSG_FASTOPEN",
    "MSG_MORE",
    "MSG_NOSIGNAL",
    "SCM_CREDENTIALS",
    "SCM_CREDS",
    "SCM_RIGHTS",
    "SO_BINDTODEVICE",
    "SO_DOMAIN",
    "SO_MARK",
    "SO_PASSCRED",
    "SO_PASSSEC",
    "SO_PEERCRED",
    "SO_PEERSEC",
    "SO_PRIORITY",
    "SO_PROTOCOL",
]


def add_missing_names():
    """Add the missing names to the socket module, and on Python 2 the methods to its classes."""
    functions = dict(CMSG_LEN=CMSG_LEN, CMSG_SPACE=CMSG_SPACE, recv_fds=recv_fds, send_fds=send_fds)
    for name in sorted(functions) + CONSTANTS:
        value = None if hasattr(socket, name) else functions.get(name) or constant(name)
        if value is not None:
            setattr(socket, name, value)
            if name not in socket.__all__:
                socket.__all__.append(name)
    # Python 3 has the methods. To a green class that lacks one, fdpass.sendmsg must not be added,
    # because it calls that very method.
    if not hasattr(_socket.socket, "sendmsg"):
        complete_python2_module()


def send_fds(sock, buffers, fds, flags=0, address=None):
    """Do what `fdpass.send_fds` does. The parameters have the names of ``socket.send_fds``."""
    check_buffers(buffers)
    return fdpass_send_fds(sock, buffers, fds, flags, address)


def sendmsg(self, buffers, ancdata=(), flags=0, address=None):
    """Send the bytes in buffers and the control messages in ancdata: see `fdpass.sendmsg`."""
    check_buffers(buffers)
    return fdpass_sendmsg(self, buffers, ancdata, flags, address)


def recvmsg_into(self, buffers, ancbufsize=0, flags=0):
    """Receive into an iterable of writable buffers; return (size, ancdata, msg_flags, address).

    Each buffer is filled before the next one. For the rest, see `fdpass.recvmsg`.
    """
    buffers, ancdata = list(buffers), ()
    for buffer in buffers:
        io.BytesIO().readinto(buffer)  # raises TypeError if it is not writable
    try:
        size = sum(len(view_of(buffer)) for buffer in buffers)
        data, ancdata, msg_flags, address = recvmsg(self, size, ancbufsize, flags)
        source = io.BytesIO(data)
        for buffer in buffers:
            source.readinto(buffer)
        return len(data), ancdata, msg_flags, address
    except BaseException:
        close_all(sum(descriptors_in(ancdata), []))
        raise


def check_buffers(buffers):
    """Raise TypeError for a single bytes-like object: on Python 3 its items are ints."""
    if view_of(buffers):
        raise TypeError(
            "buffers must be an iterable of bytes-like objects, not %s: put a single one into a"
            " list" % type(buffers).__name__
        )


def complete_python2_module():
    # The standard library's class comes first, because another library's class may inherit from it.
    for class_name in ("_socketobject", "socket", "SocketType"):
        add_methods(getattr(socket, class_name, None))
    for function in (socketpair, fromfd):
        # A built-in function returns _socket.socket objects, to which no method can be added.
        if isinstance(getattr(socket, function.__name__), types.BuiltinFunctionType):
            setattr(socket, function.__name__, function)
    if not hasattr(array.array, "frombytes"):
        replace_array_type()


def add_methods(cls):
    if not isinstance(cls, type):
        return
    for method in (sendmsg, recvmsg, recvmsg_into):
        if not hasattr(cls, method.__name__):
            setattr(cls, method.__name__, method)
    # PyPy 2.7 calls them to count the holders of _sock, as in socket.socket(_sock=fromfd(...)).
    for name in ("_reuse", "_drop"):
        if hasattr(_socket.socket, name) and not hasattr(cls, name):
            setattr(cls, name, make_inner_call(name))


def make_inner_call(name):
    def method(self):
        getattr(self._sock, name)()

    return method


def socketpair(family=None, type=socket.SOCK_STREAM, proto=0):
    """Return two connected socket.socket objects, of the family AF_UNIX by default."""
    family = socket.AF_UNIX if family is None else family
    return tuple(map(wrap_socket, _socket.socketpair(family, type, proto)))


def fromfd(fd, family, type, proto=0):
    """Return a socket.socket object on a duplicate of the descriptor fd."""
    return wrap_socket(_socket.fromfd(fd, family, type, proto))


def replace_array_type():
    """Put a subclass with frombytes and tobytes in the place of array.array.

    The example in Python 3's documentation of recvmsg calls frombytes, and no method can be added
    to 2.7's type. Arrays of the old type still count as arrays, and can still be pickled.
    """
    import copy_reg  # novm (Python 2's name)

    old_type = array.array

    class ArrayType(type):
        def __instancecheck__(cls, instance):
            return type.__instancecheck__(old_type if cls is new_type else cls, instance)

        def __subclasscheck__(cls, other):
            return type.__subclasscheck__(old_type if cls is new_type else cls, other)

    def keep_type(function):
        def method(self, *arguments):
            made = function(self, *arguments)
            return new_type(made.typecode, made.tostring()) if type(made) is old_type else made

        return method

    methods = dict(frombytes=old_type.fromstring, tobytes=old_type.tostring)
    methods.update(__slots__=(), __module__="array", __doc__=old_type.__doc__)
    names = ["__%s__" % name for name in ("getitem", "getslice", "add", "mul", "rmul", "copy")]
    names += ["__deepcopy__"] * hasattr(old_type, "__deepcopy__")  # PyPy has none
    methods.update((name, keep_type(getattr(old_type, name))) for name in names)
    new_type = array.array = array.ArrayType = ArrayType("array", (old_type,), methods)
    copy_reg.pickle(old_type, lambda made: (new_type, (made.typecode, made.tostring())))
