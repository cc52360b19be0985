"""Drop-in replacements for python-fdsend, python-passfd, sendmsg and socketfromfd.

On Python 2.7 to 3.8, ``install("socket")`` adds the names of Python 3.9's socket module.

Import one in place of the original (``from fdpass.compat import passfd``), or call `install` so
that ``import passfd`` finds it, or run an unmodified program with ``python -m fdpass.compat passfd
-- PROGRAM``.
"""

import importlib
import sys

NAMES = ("fdsend", "passfd", "sendmsg", "socketfromfd")
SOCKET = "socket"  # no drop-in, but the module that gets more names


def install(*names):
    """Put drop-ins into ``sys.modules`` under the originals' names, for all later imports.

    :param names: any of ``fdsend``, ``passfd``, ``sendmsg`` and ``socketfromfd``; none means these
        four. With ``socket``, the socket module and its classes get the names that this Python
        lacks: ``sendmsg``, ``recvmsg``, ``recvmsg_into``, ``send_fds``, ``recv_fds``, ``CMSG_LEN``,
        ``CMSG_SPACE`` and constants of Python 3.9. A name that exists is never replaced, but 2.7's
        ``socketpair`` and ``fromfd`` return ``socket.socket`` objects from then on.
    :raises ValueError: there is no drop-in with that name.
    :raises ImportError: another module with that name is imported already, and the code that
        imported it would keep it. Call install before that import.

    If this raises, nothing was installed. A second call does no harm.
    """
    for name in names:
        if name not in NAMES and name != SOCKET:
            known = ", ".join(NAMES + (SOCKET,))
            raise ValueError("no drop-in is called %r; there are: %s" % (name, known))
    modules = {
        name: importlib.import_module("." + name, __name__)
        for name in names or NAMES
        if name != SOCKET
    }
    for name, module in modules.items():
        if sys.modules.get(name, module) is not module:
            raise ImportError(
                "another module %s is imported already (%s): install the drop-in before anything"
                " imports it" % (name, getattr(sys.modules[name], "__file__", "built in"))
            )
    sys.modules.update(modules)
    if SOCKET in names:
        from ._socket_names import add_missing_names

        add_missing_names()
