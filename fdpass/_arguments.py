"""Arguments, checked and brought into the one form that the rest works with. No system call."""

import errno
import itertools
import os
import socket
import sys

TEXT = type(b"".decode())  # the formatter drops the u of a literal
INTEGERS = (int, type(sys.maxsize + 1))  # the second is 2.7's long
INT_MAX = 0x7FFFFFFF  # a descriptor and the flags are a C int


def descriptor(thing):
    """The number of thing: an int that cannot be wrong, or what its fileno() says."""
    if isinstance(thing, INTEGERS) and not isinstance(thing, bool):
        if not 0 <= thing <= INT_MAX:
            raise ValueError("%r is not a descriptor: those are 0 to %d" % (thing, INT_MAX))
        return int(thing)
    fileno = getattr(thing, "fileno", None)
    if fileno is None:
        raise TypeError(
            "expected a descriptor (an int) or an object with fileno(), not %s"
            % type(thing).__name__
        )
    number = fileno()
    if isinstance(number, bool) or not isinstance(number, INTEGERS):
        raise TypeError(
            "fileno() of %s gave %s, not an int" % (type(thing).__name__, type(number).__name__)
        )
    if not 0 <= number <= INT_MAX:  # Python 3 says -1 for a closed socket where 2.7 raises
        raise socket.error(
            errno.EBADF, "%s: %s is closed" % (os.strerror(errno.EBADF), type(thing).__name__)
        )
    return int(number)


def listed(fds, most):
    """fds as a list that keeps its objects, and so their descriptors, alive while it lives.

    Nothing is taken from an iterable beyond one more than most: that is too many already.
    """
    octets = isinstance(fds, (bytes, bytearray, TEXT)) or (
        isinstance(fds, memoryview) and fds.itemsize == 1
    )
    # An open file is an iterable too, of its lines.
    if octets or hasattr(fds, "fileno"):
        raise TypeError(
            "fds must be an iterable of descriptors, not %s: put a single one into a list"
            % type(fds).__name__
        )
    try:
        return list(itertools.islice(fds, most + 1))
    except TypeError:
        if hasattr(fds, "__iter__"):
            raise
        raise TypeError(
            "fds must be an iterable of descriptors, not %s: put a single one into a list"
            % type(fds).__name__
        )


def integer(name, value):
    """value as a plain int: an enum's arithmetic costs as much as a system call."""
    if not isinstance(value, INTEGERS):
        raise TypeError("%s must be an int, not %s" % (name, type(value).__name__))
    return int(value)


def c_int(name, value):
    value = integer(name, value)
    if not -INT_MAX <= value <= INT_MAX:
        raise ValueError("%s must fit a C int, and %d does not" % (name, value))
    return value


def flag_bits(flags):
    return c_int("flags", flags)


def size(name, value, most=sys.maxsize):
    """A number of bytes or of descriptors."""
    value = integer(name, value)
    if not 0 <= value <= most:
        raise ValueError("%s must be from 0 to %d, not %d" % (name, most, value))
    return value


def seconds(name, value):
    """A timeout: None, or a number that is more than 0."""
    if value is None:
        return None
    try:
        # No comparison alone: on 2.7 text is more than any number.
        value, enough = value + 0.0, value + 0.0 > 0
    except TypeError:
        raise TypeError("%s must be seconds or None, not %s" % (name, type(value).__name__))
    except OverflowError:
        raise ValueError("%s is too large for a float: None is for ever" % name)
    if not enough:
        raise ValueError("%s must be more than 0 seconds, or None, not %r" % (name, value))
    return value


def buffers(data, view):
    """data, one bytes-like object or an iterable of them, as a list of views of their bytes."""
    if isinstance(data, TEXT):
        raise TypeError("data must be bytes-like, not text: encode it first")
    one = view(data)
    if one is not None:
        return [one]
    try:
        items = list(data)
    except TypeError:
        if hasattr(data, "__iter__"):
            raise
        raise TypeError(
            "data must be bytes-like or an iterable of bytes-like objects, not %s"
            % type(data).__name__
        )
    views = []
    for item in items:
        one = None if isinstance(item, TEXT) else view(item)
        if one is None:
            raise TypeError(
                "data must be bytes-like or an iterable of bytes-like objects, and one item is %s"
                % type(item).__name__
            )
        views.append(one)
    return views


def ancillary(ancdata, view):
    """ancdata as a list of (level, type, a view of the data's bytes)."""
    items = []
    for item in ancdata:
        try:
            level, kind, content = item
        except (TypeError, ValueError):
            raise TypeError("an item of ancdata must be (level, type, data), not %r" % (item,))
        one = None if isinstance(content, TEXT) else view(content)
        if one is None:
            raise TypeError(
                "the data of an ancillary item must be bytes-like, not %s" % type(content).__name__
            )
        items.append((c_int("level", level), c_int("type", kind), one))
    return items
