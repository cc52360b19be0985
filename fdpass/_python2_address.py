"""Socket addresses on Python 2, as its own recvfrom returns them and its sendto takes them."""

import socket
import struct
import sys

from ._arguments import TEXT, check_int

FAMILY = struct.Struct("=H")
WILDCARDS = {"": "0.0.0.0", "<broadcast>": "255.255.255.255"}
AF_NETLINK = getattr(socket, "AF_NETLINK", None)


def decode(name):
    """Return the address in a struct sockaddr (bytes), or None if that is empty."""
    if not name:
        return None
    (family,) = FAMILY.unpack_from(name)
    rest = name[FAMILY.size :]
    if family == socket.AF_UNIX:
        # unix(7): a name that begins with a NUL is abstract, and all its bytes count.
        return rest if rest.startswith(b"\0") else rest.split(b"\0", 1)[0]
    if family == socket.AF_INET:
        port, host = struct.unpack_from("!H4s", rest)
        return socket.inet_ntop(family, host), port
    if family == socket.AF_INET6:
        port, flow, host = struct.unpack_from("!HI16s", rest)
        (scope,) = struct.unpack_from("=I", rest, 22)
        return socket.inet_ntop(family, host), port, flow, scope
    if family == AF_NETLINK:
        return struct.unpack_from("=xxII", rest)
    return family, rest[:14]


def encode(family, address):
    """Return a struct sockaddr (bytes) for the address, as a socket of that family takes it."""
    if family == socket.AF_UNIX:
        return FAMILY.pack(family) + encode_path(address)
    if family == AF_NETLINK:
        if not isinstance(address, tuple) or len(address) != 2:
            raise TypeError("the address must be a tuple (pid, groups), not %r" % (address,))
        pid, groups = address
        check_number("pid", pid, 1 << 32)
        check_number("groups", groups, 1 << 32)
        return struct.pack("=HxxII", family, pid, groups)
    if family not in (socket.AF_INET, socket.AF_INET6):
        raise ValueError("fdpass cannot send to an address of family %d on Python 2" % family)
    max_items = 2 if family == socket.AF_INET else 4
    if not isinstance(address, tuple) or not 2 <= len(address) <= max_items:
        raise TypeError("the address must be a tuple (host, port), not %r" % (address,))
    host, port = address[:2]
    if not isinstance(host, basestring):  # noqa: F821
        raise TypeError("the host must be a string, not %s" % type(host).__name__)
    check_number("port", port, 1 << 16)
    if family == socket.AF_INET:
        host = WILDCARDS.get(host, host)
    found = socket.getaddrinfo(host or None, port, family, socket.SOCK_DGRAM)[0][4]
    packed = socket.inet_pton(family, found[0].split("%")[0])
    if family == socket.AF_INET:
        return FAMILY.pack(family) + struct.pack("!H4s8x", port, packed)
    flow, scope = address[2:] + found[len(address) :]
    check_number("flowinfo", flow, 1 << 20)
    check_number("scope_id", scope, 1 << 32)
    return (
        FAMILY.pack(family) + struct.pack("!HI16s", port, flow, packed) + struct.pack("=I", scope)
    )


def check_number(name, value, end):
    if not 0 <= check_int(name, value) < end:
        raise OverflowError("the %s must be 0-%d" % (name, end - 1))
    return value


def encode_path(address):
    """Return sun_path of unix(7): a NUL ends it, but an abstract name has its length alone."""
    if isinstance(address, TEXT):
        address = address.encode("ascii")  # as sendto of 2.7 takes it
    if not isinstance(address, (bytes, bytearray)):
        raise TypeError(
            "the address of a Unix socket must be a str, not %s" % type(address).__name__
        )
    address = bytes(address)
    # An empty path stays empty: with a NUL it would be an abstract name.
    ended = address if not address or address.startswith(b"\0") else address + b"\0"
    if len(ended) > 108:
        raise socket.error("AF_UNIX path too long")
    return ended


def fspath(path):
    """Return path as bytes, since the socket module would take only ASCII from text."""
    return path.encode(sys.getfilesystemencoding()) if isinstance(path, TEXT) else path
