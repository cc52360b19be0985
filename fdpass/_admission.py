"""Decide which peers a Listener lets in by default, and log what it refuses."""

import os
import sys

from ._system import monotonic

LOG_PAUSE_S = 1  # between two lines about the same user


def make_default_allow():
    """Return a function that lets in the user of this process, and root."""
    ambiguous_uid = find_ambiguous_uid()

    def same_user_or_root(credentials):
        return credentials.uid in (0, os.geteuid()) and credentials.uid != ambiguous_uid

    return same_user_or_root


def find_ambiguous_uid():
    """Return the uid that stands here for every user without a uid of its own, or None.

    The kernel shows the overflow uid for each user that this user namespace does not map
    (user_namespaces(7)). Read it now, because later the process may have changed its root.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        with open("/proc/self/uid_map") as opened:
            mapped = sum(int(line.split()[2]) for line in opened)
        if mapped == 0xFFFFFFFF:  # all of them
            return None
        with open("/proc/sys/kernel/overflowuid") as opened:
            return int(opened.read())
    except EnvironmentError:
        # Without the namespaces of Linux, each uid is a user's. Without /proc, nobody can tell.
        return None if os.path.isdir("/proc/self") else 65534


class RefusalLog(object):
    """Logs the peers that a Listener refuses, at most one line a second for each user.

    A peer can come as often as it likes, and to write a line can wait, or fill a disk.
    """

    def __init__(self):
        # Imported now, because later there may be no descriptor for it, or no file system.
        try:
            import logging
        except (ImportError, EnvironmentError):
            self._logger = None
        else:
            self._logger = logging.getLogger(__name__.rpartition(".")[0])
        self._times = {}  # of the last line about each uid

    def log_refusal(self, credentials):
        now = monotonic()
        for uid, time in list(self._times.items()):
            if now - time >= LOG_PAUSE_S:
                self._times.pop(uid, None)
        if self._logger is not None and credentials.uid not in self._times:
            self._times[credentials.uid] = now
            self._logger.info("refused a peer: %s", credentials)

    def log_pause(self, error):
        if self._logger is not None:
            self._logger.warning("accept failed, and peers may wait in the backlog: %s", error)
