"""Control messages and the descriptors in them. No system call."""

from ._system import SCM_PIDFD, SCM_RIGHTS, SOL_SOCKET, ints


def descriptors_in(ancdata):
    """(the descriptors passed with SCM_RIGHTS, other descriptors that the kernel opened for us).

    Everything else is skipped: with SO_PASSCRED on, credentials come before the descriptors.
    """
    passed, strays = [], []
    for level, kind, content in ancdata:
        if level == SOL_SOCKET:
            if kind == SCM_RIGHTS:
                passed += ints(content)
            elif kind == SCM_PIDFD:
                # At the descriptor limit it is an errno, negative.
                strays += [fd for fd in ints(content) if fd >= 0]
    return passed, strays
