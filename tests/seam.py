"""The seam: how a test runs fdpass on a system that is not here.

The platform is chosen once, in fdpass/_system.py, and every other module takes its names from there
when it is imported. So a test loads a second copy of the package, and changes names of _system
before the other modules take them. No test sets an attribute of a private module in another way:
it injects a fault at the socket object, at os, fcntl, socket or select, or with faults.c.
"""

import importlib
import itertools
import os
import socket
import sys
import types

import six

import fdpass

numbers = itertools.count()
NO_PEER = 0, 0xFFFFFFFF, 0xFFFFFFFF  # SO_PEERCRED on a socket without a peer (unix(7))


def copy_of_fdpass(here=None, **changes):
    """Load a second copy of fdpass, on a system where these names of _system are different.

    here has changes to the side of this Python, _python2 or _python3.
    """
    name = "fdpass_elsewhere_%d" % next(numbers)
    package = types.ModuleType(name)
    package.__path__ = [os.path.dirname(fdpass.__file__)]
    package.__package__ = name
    sys.modules[name] = package
    side = "_python2" if six.PY2 else "_python3"
    for module, values in ((side, here), ("_system", changes)):  # which takes names of the side
        if values is not None:
            target = importlib.import_module(name + "." + module)
            for key, value in values.items():
                assert hasattr(target, key)
                setattr(target, key, value)
    source = os.path.join(package.__path__[0], "__init__.py")
    with open(source) as opened:
        six.exec_(compile(opened.read(), source, "exec"), package.__dict__)
    return package


def fixed_peer(*credentials):
    """Return a peer_of that gives these credentials for every connected socket."""

    def peer_of(sock):
        try:
            sock.getpeername()
        except socket.error:
            return NO_PEER
        return credentials

    return peer_of
