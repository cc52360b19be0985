"""FileDescriptor: an object that owns one descriptor."""

import io
import os
from _warnings import warn  # importing warnings takes a quarter as long as all of fdpass

from ._arguments import descriptor_of
from ._sockets import socket_from_fd
from ._system import (
    UNCLOSED_WARNING,
    close_all,
    duplicate,
    is_inheritable,
    is_open,
    set_inheritable,
)


class FileDescriptor(object):
    """Owns one open descriptor until you close it, or hand it on by detach, to_socket or to_file.

    :param fd: an open descriptor (int). This object owns it from then on. If the constructor raises
        (TypeError, ValueError, or OSError EBADF), the descriptor is still yours.

    If you forget it, it closes itself with a ResourceWarning (RuntimeWarning on Python 2). Once it
    owns nothing, every method but ``close`` raises ValueError.
    """

    # A list of one descriptor or none. list.pop is atomic on every Python, so if several threads
    # close or detach at once, only one gets the descriptor. After close, its number can be reused.
    __slots__ = ("_fds", "__weakref__")

    def __init__(self, fd):
        if getattr(self, "_fds", None):
            raise ValueError("this FileDescriptor owns a descriptor already")
        self._fds = []
        if hasattr(fd, "fileno"):
            raise TypeError(
                "%s owns its descriptor already: detach it there, or duplicate it"
                % type(fd).__name__
            )
        fd = descriptor_of(fd)
        is_inheritable(fd)  # raises EBADF now; later the number may be reused
        self._fds.append(fd)

    def fileno(self):
        """Return the descriptor (int), which this object still owns."""
        try:
            return self._fds[0]
        except IndexError:
            raise ValueError("this FileDescriptor is closed or was handed on")

    @property
    def closed(self):
        """True if this object owns no descriptor any more."""
        return not self._fds

    def detach(self):
        """Return the descriptor (int), which you own from then on."""
        try:
            return self._fds.pop()
        except IndexError:
            raise ValueError("this FileDescriptor is closed or was handed on")

    def close(self):
        """Close the descriptor. A second call does nothing.

        :raises OSError: close(2) failed; the descriptor is gone all the same.
        """
        try:
            fd = self._fds.pop()
        except IndexError:
            return
        os.close(fd)

    def dup(self):
        """Return a new FileDescriptor that owns a close-on-exec duplicate."""
        copy = type(self).__new__(type(self))
        fd = duplicate(self.fileno())
        try:
            copy.__init__(fd)
            return copy
        except BaseException:
            # If copy owns the duplicate it closes it, and a subclass may have closed it already.
            if not getattr(copy, "_fds", None) and is_open(fd):
                os.close(fd)
            raise

    def to_socket(self, family=None, type=None, proto=None):
        """Return a socket object that owns the descriptor from then on: see `socket_from_fd`.

        If this raises, this object still owns the descriptor.
        """
        fd = self.detach()
        try:
            return socket_from_fd(fd, family, type, proto)
        except BaseException:
            # On 2.7, a signal handler can raise after a duplicate has replaced the descriptor.
            if is_open(fd):
                self._fds.append(fd)
            raise

    def to_file(self, mode="r", buffering=-1, encoding=None, errors=None, newline=None):
        """Return a file object, made by ``io.open``, that owns the descriptor from then on.

        To read and write a file that has no position (a terminal, a pipe or a socket), give
        ``buffering=0``, as in ``to_file("r+b", buffering=0)``.

        If this raises, this object still owns the descriptor. After a signal handler's exception
        the descriptor can be closed: see ``closed``.
        """
        arguments = mode, buffering, encoding, errors, newline
        # If io.open fails late (an unknown encoding), it closes the descriptor (on PyPy 2.7 at some
        # collection); if it fails early (a bad mode), it does not. So try it without ownership, and
        # only a signal handler can make the second call fail.
        io.open(self.fileno(), *arguments, closefd=False).close()
        return io.open(self.detach(), *arguments)

    def __reduce_ex__(self, protocol):
        from ._multiprocessing import reduce_owner  # few programs need it

        advice = "dup() makes a duplicate, and a Channel passes one to another process"
        return reduce_owner(self, (), ("_fds",), advice)

    @classmethod
    def _own(cls, fds):
        """Return the owner of the one descriptor in the list fds, without its constructor."""
        owner = cls.__new__(cls)
        owner._fds = fds
        return owner

    @property
    def inheritable(self):
        """True if a program that this process executes inherits the descriptor."""
        return is_inheritable(self.fileno())

    @inheritable.setter
    def inheritable(self, value):
        set_inheritable(self.fileno(), value)

    def __enter__(self):
        self.fileno()
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        fds = tuple(self._fds)  # another thread may close it now
        state = "fd=%d" % fds if fds else "closed"
        return "<%s %s>" % (type(self).__name__, state)

    # These are parameters because the globals may be gone when the interpreter ends.
    def __del__(self, close=os.close, warn=warn, category=UNCLOSED_WARNING):
        for fd in getattr(self, "_fds", ()):
            try:
                warn("unclosed FileDescriptor fd=%d" % fd, category, stacklevel=2)
            except TypeError:
                pass  # 2.7's warnings are gone when the interpreter ends
            finally:
                self._fds.remove(fd)
                close(fd)


def adopt_all(fds):
    """Return a FileDescriptor for each descriptor in the list fds, and empty the list.

    They were just received, so they are not checked. If this raises, each descriptor is still in
    fds, or closed.
    """
    lists = [[fd] for fd in fds]
    try:
        del fds[:]  # from here on the descriptors are in lists alone, which the objects share
        adopted = []
        for each in lists:
            descriptor = FileDescriptor.__new__(FileDescriptor)
            descriptor._fds = each
            adopted.append(descriptor)
        return adopted
    except BaseException:
        if not fds:
            for each in lists:
                close_all(each)
        raise
