"""One descriptor, owned."""

import errno
import io
import os
from _warnings import warn  # to import warnings takes a quarter of what all of fdpass does

from ._arguments import descriptor
from ._sockets import socket_from_fd
from ._system import FORGOTTEN, close_all, duplicate, is_inheritable, set_inheritable


def is_open(fd):
    try:
        is_inheritable(fd)
    except EnvironmentError as error:  # 2.7's fcntl raises IOError
        return error.errno != errno.EBADF
    return True


class FileDescriptor(object):
    """Owns one open descriptor until it is closed, or handed on by detach, to_socket or to_file.

    :param fd: an open descriptor (int). On success it is this object's; if the constructor
        raises (TypeError, ValueError, or OSError EBADF), it is still the caller's.

    A forgotten one closes itself, with a ResourceWarning (RuntimeWarning on Python 2). Every
    method but ``close`` raises ValueError once it owns nothing.
    """

    # A list of one number or none, since list.pop is atomic on every Python: of several threads
    # that close or detach at once, one has it. A closed one keeps no number: it is another's soon.
    __slots__ = ("_numbers", "__weakref__")

    def __init__(self, fd):
        if getattr(self, "_numbers", None):
            raise ValueError("this FileDescriptor owns a descriptor already")
        self._numbers = []
        if hasattr(fd, "fileno"):
            raise TypeError(
                "%s owns its descriptor already: detach it there, or duplicate it"
                % type(fd).__name__
            )
        fd = descriptor(fd)
        is_inheritable(fd)  # EBADF now, and not when the number has become another's
        self._numbers.append(fd)

    def fileno(self):
        """The number of the descriptor, still owned here."""
        try:
            return self._numbers[0]
        except IndexError:
            raise ValueError("this FileDescriptor is closed or was handed on")

    @property
    def closed(self):
        """Whether nothing is owned any more."""
        return not self._numbers

    def detach(self):
        """Give the descriptor to the caller, and return its number."""
        try:
            return self._numbers.pop()
        except IndexError:
            raise ValueError("this FileDescriptor is closed or was handed on")

    def close(self):
        """Close the descriptor; a second time does nothing.

        :raises OSError: close(2) failed. The descriptor is gone all the same.
        """
        try:
            fd = self._numbers.pop()
        except IndexError:
            return
        os.close(fd)

    def dup(self):
        """A FileDescriptor of its own on a close-on-exec duplicate."""
        own = type(self).__new__(type(self))
        fd = duplicate(self.fileno())
        try:
            own.__init__(fd)
            return own
        except BaseException:
            # One that owns it closes it itself, and one that did has.
            if not getattr(own, "_numbers", None) and is_open(fd):
                os.close(fd)
            raise

    def to_socket(self, family=None, type=None, proto=None):
        """The descriptor as a socket object, which owns it from then on: see `socket_from_fd`.

        If this raises, the descriptor is still owned here.
        """
        fd = self.detach()
        try:
            return socket_from_fd(fd, family, type, proto)
        except BaseException:
            # A signal handler can raise when 2.7 has put its duplicate in the place of it.
            if is_open(fd):
                self._numbers.append(fd)
            raise

    def to_file(self, mode="r", buffering=-1, encoding=None, errors=None, newline=None):
        """The descriptor as a file object, as ``io.open`` makes it, which owns it from then on.

        If this raises, the descriptor is still owned here; after the exception of a signal handler
        it can be closed, which ``closed`` tells.
        """
        given = mode, buffering, encoding, errors, newline
        # io.open closes the number on a late failure (an unknown encoding), PyPy 2.7 at a later
        # collection, and on an early one (a bad mode) never. So it fails first where it owns
        # nothing; what can still fail then, a signal handler's exception, leaves it io.open's.
        io.open(self.fileno(), *given, closefd=False).close()
        return io.open(self.detach(), *given)

    def __reduce_ex__(self, protocol):
        raise TypeError("a FileDescriptor cannot be copied or pickled: use dup()")

    @property
    def inheritable(self):
        """Whether a program executed from here has the descriptor too."""
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
        state = "fd=%d" % self._numbers[0] if self._numbers else "closed"
        return "<%s %s>" % (type(self).__name__, state)

    # The globals may be gone when the interpreter ends.
    def __del__(self, close=os.close, warn=warn, category=FORGOTTEN):
        for fd in getattr(self, "_numbers", ()):
            try:
                warn("unclosed FileDescriptor fd=%d" % fd, category, stacklevel=2)
            except TypeError:
                pass  # 2.7's warnings have gone when the interpreter ends
            finally:
                self._numbers.remove(fd)
                close(fd)


def owners(fds):
    """A FileDescriptor for each number in the list fds, which is empty then.

    They have just been received, so nothing is asked about them. Whatever raises, each number is in
    fds still, or closed.
    """
    numbers = [[fd] for fd in fds]
    try:
        del fds[:]  # from here on they are in numbers alone, which the objects share
        owned = []
        for one in numbers:
            owner = FileDescriptor.__new__(FileDescriptor)
            owner._numbers = one
            owned.append(owner)
        return owned
    except BaseException:
        if not fds:
            for one in numbers:
                close_all(one)
        raise
