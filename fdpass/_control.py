"""Control messages and the descriptors in them. No system call."""

from ._system import SCM_PIDFD, SCM_RIGHTS, SOL_SOCKET, ints_in


def descriptors_in(ancdata):
    """Return (descriptors that the peer passed, pidfds that the kernel opened for us).

    All other control messages are skipped: with SO_PASSCRED on, credentials come first.
    """
    passed, pidfds = [], []
    for level, kind, content in ancdata:
        if level == SOL_SOCKET:
            if kind == SCM_RIGHTS:
                passed += ints_in(content)
            elif kind == SCM_PIDFD:
                # At the descriptor limit it carries a negative errno instead (Linux 6.5).
                pidfds += [fd for fd in ints_in(content) if fd >= 0]
    return passed, pidfds
