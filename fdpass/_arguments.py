"""Check arguments, and convert each to the form that the other modules use. No system call."""

import errno
import itertools
import os
import socket
import sys

from ._kinds import CHANNEL, INTEGERS, PLAIN_TYPES, is_tls, is_zeromq, kind_of

TEXT = type(b"".decode())  # a literal u"" would lose its u to the formatter
INT_MAX = 0x7FFFFFFF  # a descriptor and the flags are a C int
# An attribute of objects that have no fileno(), and how to get the socket of such an object.
WAYS_TO_SOCKET = (
    ("get_extra_info", "its get_extra_info('socket')"),  # asyncio's transports and StreamWriter
    ("extra", "its extra(SocketAttribute.raw_socket)"),  # anyio's streams and listeners
    ("socket", "its socket"),  # trio's streams and listeners
    ("sockets", "one of its sockets"),  # asyncio's Server
)


def descriptor_of(given):
    """Return a descriptor (int): given itself, or what the fileno() of an object returns."""
    if isinstance(given, INTEGERS) and not isinstance(given, bool):
        if not 0 <= given <= INT_MAX:
            raise ValueError("%r is not a descriptor: those are 0 to %d" % (given, INT_MAX))
        return int(given)
    fileno = getattr(given, "fileno", None)
    if fileno is None:
        way = find_way_to_socket(given)
        raise TypeError(
            "expected a descriptor (an int) or an object with fileno(), not %s%s"
            % (type(given).__name__, way and ": give " + way)
        )
    check_not_zeromq(given)
    fd = fileno()
    if isinstance(fd, bool) or not isinstance(fd, INTEGERS):
        raise TypeError(
            "fileno() of %s returned %s, not an int" % (type(given).__name__, type(fd).__name__)
        )
    if not 0 <= fd <= INT_MAX:  # Python 3 returns -1 for a closed socket where 2.7 raises
        raise socket.error(
            errno.EBADF, "%s: %s is closed" % (os.strerror(errno.EBADF), type(given).__name__)
        )
    return int(fd)


def check_not_zeromq(given):
    if is_zeromq(given):
        raise TypeError(
            "%s is a ZeroMQ socket, and no other process can use it: give a plain Unix socket (or"
            " its fileno() if you mean that descriptor, which only signals events)"
            % type(given).__name__
        )


def find_way_to_socket(given):
    """Return in words how to get the socket of an object without fileno(), or an empty text."""
    for name, way in WAYS_TO_SOCKET:
        if hasattr(given, name):
            return way
    return ""


def check_plain_carrier(sock):
    """Raise an error if a function of fdpass must not send or receive on the object sock.

    It is TypeError for a Channel, and for a TLS socket NotImplementedError, which Python's own
    sendmsg raises too.
    """
    if kind_of(sock) is CHANNEL:
        raise TypeError(
            "a Channel has messages of its own: use its send and recv, or its fileno() if the peer"
            " no longer uses a Channel"
        )
    if is_tls(sock):
        raise NotImplementedError(
            "no message can be sent or received on %s, because it would bypass the encryption: give"
            " a plain Unix socket" % type(sock).__name__
        )


def descriptors_of(given):
    """Return the descriptors of the ints and objects in the list given, which are to be passed."""
    passed = []
    try:
        for each in given:
            if type(each) is not int or not 0 <= each <= INT_MAX:
                if type(each) not in PLAIN_TYPES:
                    check_not_tls(each)
                each = descriptor_of(each)
            passed.append(each)
        return passed
    except (TypeError, ValueError, EnvironmentError) as error:
        extend_error(error, "fds[%d]: " % len(passed))
        raise


def extend_error(error, before="", after=""):
    """Put before and after around an error's text, if the error has the usual arguments.

    An error can be raised again, so a text that starts with before stays as it is.
    """
    has_errno = isinstance(error, EnvironmentError) and error.errno is not None
    has_text = isinstance(error, (TypeError, ValueError)) and len(error.args) == 1
    text = error.strerror if has_errno else error.args[0] if has_text else None
    if not isinstance(text, str) or (before and text.startswith(before)):
        return
    text = before + text + after
    if has_errno:
        error.strerror = text
    error.args = (error.errno, text) + error.args[2:] if has_errno else (text,)


def check_not_tls(given):
    """Raise TypeError if given is a TLS socket, and so more than its descriptor."""
    if is_tls(given):
        raise TypeError(
            "%s is a TLS socket, whose keys stay in this process: pass the connection before its"
            " TLS handshake, or keep it here and relay its data. (Give its fileno() if you mean the"
            " bare socket, for instance one that listens.)" % type(given).__name__
        )


def list_fds(fds, max_fds):
    """Return a list of the objects in fds. While the list lives, their descriptors stay open.

    Take at most max_fds + 1 objects from an iterator, because that is too many already.
    """
    is_octets = isinstance(fds, (bytes, bytearray, TEXT)) or (
        isinstance(fds, memoryview) and fds.itemsize == 1
    )
    wrong_type = (
        "fds must be an iterable of descriptors, not %s: put a single one into a list"
        % type(fds).__name__
    )
    # An open file is refused too, because iteration returns its lines.
    if is_octets or hasattr(fds, "fileno"):
        raise TypeError(wrong_type)
    try:
        return list(itertools.islice(fds, max_fds + 1))
    except TypeError:
        if hasattr(fds, "__iter__"):
            raise
        raise TypeError(wrong_type)


def check_int(name, value):
    """Return value as a plain int, because an enum's arithmetic costs as much as a system call."""
    if not isinstance(value, INTEGERS):
        raise TypeError("%s must be an int, not %s" % (name, type(value).__name__))
    return int(value)


def check_c_int(name, value):
    value = check_int(name, value)
    if not -INT_MAX <= value <= INT_MAX:
        raise ValueError("%s must fit a C int, but %d does not" % (name, value))
    return value


def check_size(name, value, maximum=sys.maxsize):
    """Return value, a count of bytes or of descriptors, as a plain int."""
    value = check_int(name, value)
    if not 0 <= value <= maximum:
        raise ValueError("%s must be from 0 to %d, not %d" % (name, maximum, value))
    return value


def check_timeout(name, value):
    """Return value, a timeout, which is None or a number of seconds above 0."""
    if value is None:
        return None
    try:
        # Adding 0.0 refuses text, because 2.7 says that text is more than any number.
        value, is_positive = value + 0.0, value + 0.0 > 0
    except TypeError:
        raise TypeError("%s must be seconds or None, not %s" % (name, type(value).__name__))
    except OverflowError:
        raise ValueError("%s is too large for a float: None means no timeout" % name)
    if not is_positive:
        raise ValueError("%s must be more than 0 seconds, or None, not %r" % (name, value))
    return value


def list_buffers(data, view_of):
    """Return data, one bytes-like object or an iterable of them, as a list of views."""
    if isinstance(data, TEXT):
        raise TypeError("data must be bytes-like, not text: encode it first")
    view = view_of(data)
    if view is not None:
        return [view]
    wrong_type = "data must be bytes-like or an iterable of bytes-like objects, "
    try:
        items = list(data)
    except TypeError:
        if hasattr(data, "__iter__"):
            raise
        raise TypeError(wrong_type + "not %s" % type(data).__name__)
    views = [None if isinstance(item, TEXT) else view_of(item) for item in items]
    for item, view in zip(items, views):
        if view is None:
            raise TypeError(wrong_type + "but one item is %s" % type(item).__name__)
    return views


def list_ancillary(ancdata, view_of):
    """Return ancdata as a list of (level, type, view of the data)."""
    items = []
    for item in ancdata:
        try:
            level, kind, content = item
        except (TypeError, ValueError):
            raise TypeError("an item of ancdata must be (level, type, data), not %r" % (item,))
        view = None if isinstance(content, TEXT) else view_of(content)
        if view is None:
            raise TypeError(
                "the data of an ancillary item must be bytes-like, not %s" % type(content).__name__
            )
        items.append((check_c_int("level", level), check_c_int("type", kind), view))
    return items
