"""Owners of a descriptor on their way through multiprocessing, where they travel as sockets do."""

import sys

from ._system import close_all, set_inheritable

# In these modules it pickles what goes to another process; the second is for Python 3.3.
PICKLING_MODULES = ("multiprocessing.reduction", "multiprocessing.connection")


def reduce_owner(owner, arguments, state, advice):
    """Return what ``__reduce_ex__`` returns to the pickler of multiprocessing.

    :raises TypeError: another pickler calls, or the copy module; the text ends with the advice.
    """
    if not is_inside_multiprocessing():
        raise TypeError(
            "a %s cannot be copied or pickled, except by multiprocessing on Python 3: %s"
            % (type(owner).__name__, advice)
        )
    from multiprocessing.reduction import DupFd

    return receive_owner, (type(owner), DupFd(owner.fileno())) + arguments, state


def receive_owner(owner_class, handle, *arguments):
    """Return the owner of the descriptor that multiprocessing has brought."""
    fds = [handle.detach()]
    try:
        set_inheritable(fds[0], False)  # a process that was spawned has inherited it
        return owner_class._own(fds, *arguments)
    except BaseException:
        close_all(fds)
        raise


def is_inside_multiprocessing():
    """Return True if multiprocessing, on Python 3, is pickling in this thread.

    A pickler of multiprocessing copies its table of types when it is made, so a type that is
    registered now comes too late, and earlier there may have been no multiprocessing. What is left
    to tell the pickler by is who called it.
    """
    frame = sys._getframe()
    while frame is not None and sys.version_info[0] > 2:  # 2.7's has no DupFd
        if frame.f_globals.get("__name__") in PICKLING_MODULES:
            return True
        frame = frame.f_back
    return False
