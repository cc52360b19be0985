"""Pass a FileDescriptor or a Channel through multiprocessing, as it passes socket objects."""

import sys
import types

from ._system import close_all, set_inheritable

# multiprocessing pickles in these modules; Python 3.3 does so in the second.
PICKLING_MODULES = ("multiprocessing.reduction", "multiprocessing.connection")


def reduce_owner(owner, arguments, not_pickled, advice):
    """Return what ``__reduce_ex__`` returns to the pickler of multiprocessing.

    The attributes whose names are in not_pickled stay behind.

    :raises TypeError: another pickler or the copy module calls this. The text ends with the advice.
    """
    if not is_pickled_by_multiprocessing(owner):
        raise TypeError(
            "a %s cannot be copied or pickled, except by multiprocessing on Python 3: %s"
            % (type(owner).__name__, advice)
        )
    from multiprocessing.reduction import DupFd

    attributes = getattr(owner, "__dict__", {})
    state = {name: attributes[name] for name in attributes if name not in not_pickled} or None
    slots = {name: value for name, value in slots_of(owner) if name not in not_pickled}
    if slots:
        state = (state, slots)  # the form that pickle itself uses
    return receive_owner, (type(owner), DupFd(owner.fileno())) + arguments, state


def slots_of(owner):
    """Return a list of the names and values of the attributes that are kept in ``__slots__``."""
    names = [
        name
        for each in type(owner).__mro__
        for name, value in vars(each).items()
        if isinstance(value, types.MemberDescriptorType)
    ]
    return [(name, getattr(owner, name)) for name in names if hasattr(owner, name)]


def receive_owner(owner_class, handle, *arguments):
    """Return an owner, of this class, of the descriptor that multiprocessing has received."""
    fds = [handle.detach()]
    try:
        set_inheritable(fds[0], False)  # a spawned process has inherited it
        return owner_class._own(fds, *arguments)
    except BaseException:
        close_all(fds)
        raise


def is_pickled_by_multiprocessing(owner):
    """Return True if the pickler that has called ``__reduce_ex__`` is one of multiprocessing.

    The types cannot be registered. A pickler of multiprocessing copies its table of types when it
    is made, so now is too late, and earlier multiprocessing may not have been imported. So the
    calling frames have to tell which pickler this is.

    The nearest frame counts, apart from those of ``__reduce_ex__`` in subclasses, and of a pickler
    that is written in Python. If an object that multiprocessing pickles copies or pickles a part of
    itself, multiprocessing is further out. That copy has to be refused: it would own the descriptor
    that a spawned process is to inherit, and close it.
    """
    if sys.version_info[0] < 3:  # whose multiprocessing has no DupFd
        return False
    frame = sys._getframe(2)
    while frame and (is_reduce_method(frame, owner) or module_of(frame) == "pickle"):
        frame = frame.f_back
    return bool(frame) and module_of(frame) in PICKLING_MODULES


def is_reduce_method(frame, owner):
    """Return True if the frame is a call of the owner's ``__reduce_ex__`` or ``__reduce__``."""
    code = frame.f_code
    is_method = code.co_name in ("__reduce_ex__", "__reduce__")
    return is_method and any(frame.f_locals.get(name) is owner for name in code.co_varnames[:1])


def module_of(frame):
    return frame.f_globals.get("__name__")
