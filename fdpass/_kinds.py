"""Tell from an object's class how fdpass may use it: as a socket object, or by its fileno().

A socket object is recognized by its methods, because gevent, eventlet and tests have classes of
their own. Looking for a method that is missing takes long, so each class is judged once.
"""

import _socket
import socket
import sys

INTEGERS = (int, type(sys.maxsize + 1))  # the second is 2.7's long
PLAIN_SOCKETS = frozenset((socket.socket, _socket.socket))
PLAIN_TYPES = PLAIN_SOCKETS.union(INTEGERS)
CO_COROUTINE = 0x80  # inspect has the name, but takes longer to import than all of fdpass
# The class of a transport's socket has these names in asyncio and uvloop. Some of its methods raise
# TypeError or warn. Which methods do so depends on the version.
TRANSPORT_SOCKETS = ("TransportSocket", "PseudoSocket")

SOCKET = "a socket of the standard library"
OBJECT = "another class of socket objects"
DESCRIPTOR = "used by its fileno()"  # such as trio's sockets, whose methods are coroutines
CHANNEL = "a Channel"
TLS = "a TLS socket"
ZEROMQ = "a ZeroMQ socket"
UNDECIDED = "each object has its own attributes"
PROXY = "each object decides at each access which attributes it has"  # such as a mock

MAX_CLASSES = 1000  # a program may make classes without end
kinds = {}


def kind_of(given):
    try:
        return kinds[type(given)]
    except KeyError:
        pass
    if len(kinds) >= MAX_CLASSES:
        kinds.clear()
    kind = kinds[type(given)] = judge_class(type(given))
    return kind


def judge_class(cls):
    if hasattr(cls, "_is_fdpass_channel"):
        return CHANNEL
    # TLS sockets alone have one of these: it returns the peer's certificate. (To use isinstance,
    # fdpass would have to import ssl, which takes longer than all of fdpass.)
    if hasattr(cls, "getpeercert") or hasattr(cls, "get_peer_certificate"):
        return TLS
    if hasattr(cls, "send_multipart"):
        return ZEROMQ
    if cls.__name__ in TRANSPORT_SOCKETS or has_coroutines(cls) or issubclass(cls, INTEGERS):
        return DESCRIPTOR
    if issubclass(cls, _socket.socket):
        return SOCKET
    if issubclass(cls, tuple(PLAIN_SOCKETS)):  # on Python 2, or a green one
        return OBJECT
    if hasattr(cls, "__getattr__") or cls.__getattribute__ != object.__getattribute__:
        return PROXY
    return OBJECT if hasattr(cls, "sendmsg") and hasattr(cls, "gettimeout") else UNDECIDED


def must_not_be_called(given):
    """Return True if given has coroutines as methods, or the methods of a socket but no timeout.

    If it has sendmsg and no fileno, its sendmsg is called all the same.
    """
    if has_coroutines(given):
        return True
    if hasattr(given, "gettimeout") or not hasattr(given, "getsockopt"):
        return False
    return hasattr(given, "fileno") or not hasattr(given, "sendmsg")


def has_coroutines(given):
    return is_coroutine_function(getattr(given, "sendmsg", None))


def is_coroutine_function(given):
    return bool(getattr(getattr(given, "__code__", None), "co_flags", 0) & CO_COROUTINE)


def counts_as_descriptor(sock):
    """Return True for an int, and for an object whose fileno() counts and none of its methods."""
    kind = kind_of(sock)
    if kind in (UNDECIDED, PROXY):
        return must_not_be_called(sock)
    return kind in (DESCRIPTOR, CHANNEL, ZEROMQ)


def is_tls(given):
    kind = kind_of(given)
    return kind is TLS or (
        kind is PROXY and has_any_method(given, "getpeercert", "get_peer_certificate")
    )


def is_zeromq(given):
    kind = kind_of(given)
    return kind is ZEROMQ or (kind is PROXY and has_any_method(given, "send_multipart"))


def has_any_method(given, *names):
    """Return True if given has one of these methods, and is not a mock, which has every method."""
    try:
        has_method = any(hasattr(given, name) for name in names)
        return has_method and not hasattr(given, "fdpass_knows_no_such_method")
    except (LookupError, TypeError, ValueError):  # of a __getattr__ that is not careful
        return False


def object_timeout(sock):
    """Return a socket object's timeout, or 0 for anything else, for which fdpass does not wait."""
    if not hasattr(sock, "gettimeout") or counts_as_descriptor(sock):
        return 0.0
    return sock.gettimeout()


def is_socket_object(sock, needed):
    """Return True if sock is a socket object that has the needed methods."""
    if type(sock) in PLAIN_SOCKETS:
        return True
    return not counts_as_descriptor(sock) and all(hasattr(sock, name) for name in needed)
