"""Pass a FileDescriptor or a Channel through multiprocessing, as it passes socket objects."""

import sys

from ._system import close_all, set_inheritable

# multiprocessing pickles in these modules; Python 3.3 does so in the second.
PICKLING_MODULES = ("multiprocessing.reduction", "multiprocessing.connection")


def reduce_owner(owner, arguments, state, advice):
    """Return what ``__reduce_ex__`` returns to the pickler of multiprocessing.

    :raises TypeError: another pickler or the copy module calls this. The text ends with the advice.
    """
    if not is_inside_multiprocessing():
        raise TypeError(
            "a %s cannot be copied or pickled, except by multiprocessing on Python 3: %s"
            % (type(owner).__name__, advice)
        )
    from multiprocessing.reduction import DupFd

    return receive_owner, (type(owner), DupFd(owner.fileno())) + arguments, state


def receive_owner(owner_class, handle, *arguments):
    """Return an owner, of this class, of the descriptor that multiprocessing has received."""
    fds = [handle.detach()]
    try:
        set_inheritable(fds[0], False)  # a spawned process has inherited it
        return owner_class._own(fds, *arguments)
    except BaseException:
        close_all(fds)
        raise


def is_inside_multiprocessing():
    """Return True if multiprocessing, on Python 3, is pickling in this thread.

    The types cannot be registered. A pickler of multiprocessing copies its table of types when it
    is made, so now is too late, and earlier multiprocessing may not have been imported. So the
    calling frames have to tell which pickler this is.
    """
    frame = sys._getframe()
    while frame is not None and sys.version_info[0] > 2:  # 2.7 has no DupFd
        if frame.f_globals.get("__name__") in PICKLING_MODULES:
            return True
        frame = frame.f_back
    return False
