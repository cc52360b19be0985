"""Closing descriptors, all of them, whatever happens meanwhile."""

import os


def close_all(fds):
    """Close the descriptors in the list, and take them out of it, whatever raises in between."""
    try:
        while fds:
            try:
                os.close(fds.pop())
            except OSError:
                pass  # close(2): the number is free whatever it says, and must not be tried again
    finally:
        if fds:
            close_all(fds)
