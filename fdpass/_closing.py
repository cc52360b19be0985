"""Close descriptors: all of them, even if a signal handler raises in between."""

import os


def close_all(fds):
    """Close the descriptors in the list and empty it, even if an exception interrupts this."""
    try:
        while fds:
            try:
                os.close(fds.pop())
            except OSError:
                pass  # close(2): after an error the descriptor is gone too, so never close it again
    finally:
        if fds:
            close_all(fds)
