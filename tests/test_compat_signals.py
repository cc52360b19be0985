"""A signal's exception before any line of the drop-ins leaks nothing and closes nothing twice."""

import os
import socket
import struct
import sys

import pytest
import six
from conftest import open_descriptors
from test_compat_fdsend import ask_for_pidfds
from test_signals import check_tables, interrupted_at_every_line

import fdpass
from fdpass.compat import fdsend, passfd, sendmsg, socketfromfd


def of_recvmsg(result):
    ((_, _, content),) = result[2]
    return struct.unpack("%di" % (len(content) // 4), content)


# How it receives, how many descriptors are sent, and those in what it returns.
RECEIVES = {
    "fdsend": (lambda sock: fdsend.recvfds(sock, 10, numfds=2), 5, lambda result: result[1]),
    "passfd": (passfd.recvfd, 1, lambda result: result[:1]),
    "sendmsg": (lambda sock: sendmsg.recvmsg(sock.fileno()), 2, of_recvmsg),
}


@pytest.mark.parametrize("name", sorted(RECEIVES))
def test_an_interrupt_closes_what_arrived(stream, null, untraced, name):
    call, count, fds_in = RECEIVES[name]
    if name == "fdsend":  # sendmsg's gives them to the caller
        ask_for_pidfds(stream[1])
    before = open_descriptors()

    def receive():
        trace, _ = sys.gettrace(), sys.settrace(None)
        fdpass.send_fds(stream[0], b"x", [null] * count)
        sys.settrace(trace)
        return call(stream[1])

    for result in interrupted_at_every_line(receive):
        if result is not None:
            for fd in fds_in(result):
                os.close(fd)
        check_tables(before, null)


# Python 2 has put a duplicate in the place of what it takes over.
@pytest.mark.parametrize("keep_fd", [True] if six.PY2 else [True, False])
def test_an_interrupt_leaves_what_was_to_become_a_socket(stream, untraced, keep_fd):
    number = os.dup(stream[0].fileno())
    before = open_descriptors()
    for sock in interrupted_at_every_line(lambda: socketfromfd.fromfd(number, keep_fd)):
        if sock is None:
            check_tables(before, number)
        else:
            sock.close()
    if keep_fd:
        os.close(number)


def test_an_interrupt_leaves_nothing_of_a_pair(untraced):
    before = open_descriptors()
    for ends in interrupted_at_every_line(
        lambda: fdsend.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ):
        for fd in ends or ():
            os.close(fd)
        assert set(open_descriptors()) == set(before)
