"""Pass objects through multiprocessing, with one start method: tests/travellers.py METHOD

The exit status is 0 if all objects arrived, and if no process still has a descriptor of them.
"""

import concurrent.futures
import faulthandler
import fcntl
import multiprocessing
import os
import select
import sys
from multiprocessing import resource_sharer

import fdpass

SECONDS = 20


class Named(fdpass.FileDescriptor):
    """A subclass that has an attribute of its own."""


class Line(fdpass.Channel):
    """A subclass that has an attribute of its own."""


def write(owned, text):
    """Check that this process got an owner, and write to its descriptor."""
    assert fcntl.fcntl(owned.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    with owned:
        os.write(owned.fileno(), text)


def as_argument(owned, line, message):
    if multiprocessing.get_start_method() != "fork":  # which leaves all as it was
        assert type(owned) is Named and owned.name == "Ada"
        assert type(line) is Line and line.name == "Bob"
    with line, message:
        write(owned, b"argument ")
        line.send(message.data, message.fds)


def as_item(queue, answers):
    owned, line, message = queue.get(timeout=SECONDS)
    answers.put((type(line).__name__, line.name, owned.name))
    with line, message:
        line.settimeout(SECONDS)
        with line.recv() as received:
            write(owned, received.data)
        answers.put(message.fds[0])
        queue.get(timeout=SECONDS)  # it has been taken: until then this process must not end


def through_pipe(connection):
    with connection, connection.recv() as line:
        line.send(b"pipe", [connection.fileno()])


def in_pool(owned):
    write(owned.dup(), b"pool ")
    return owned


def main(method):
    faulthandler.dump_traceback_later(2 * SECONDS, exit=True)
    multiprocessing.set_start_method(method)
    readable, writable = os.pipe()
    owned = Named(writable)
    owned.name = "Ada"
    line, far = Line.pair(max_data=100)
    line.name = "Bob"
    line.settimeout(SECONDS)
    far.settimeout(SECONDS)
    left, right = fdpass.Channel.pair()
    left.send(b"message", [owned])
    message = right.recv()

    process = multiprocessing.Process(target=as_argument, args=(owned, line, message))
    process.start()
    with far.recv() as received:
        assert (received.data, len(received.fds)) == (b"message", 1)
    process.join(SECONDS)
    assert process.exitcode == 0

    queue, answers = multiprocessing.Queue(), multiprocessing.Queue()
    process = multiprocessing.Process(target=as_item, args=(queue, answers))
    process.start()
    queue.put((owned, line, message))
    assert answers.get(timeout=SECONDS) == ("Line", "Bob", "Ada")
    far.send(b"queue ")
    write(answers.get(timeout=SECONDS), b"answer ")
    queue.put(None)
    process.join(SECONDS)
    assert process.exitcode == 0
    for each in (queue, answers):
        each.close()
        each.join_thread()

    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=through_pipe, args=(there,))
    process.start()
    there.close()
    with here:
        here.send(line)
        assert far.recv().data == b"pipe"
    process.join(SECONDS)
    assert process.exitcode == 0

    with multiprocessing.Pool(1) as pool:
        write(pool.apply_async(in_pool, (owned,)).get(SECONDS), b"result ")
        pool.close()
        pool.join()
    with concurrent.futures.ProcessPoolExecutor(1) as executor:
        write(executor.submit(in_pool, owned).result(SECONDS), b"result ")

    assert not owned.closed and not line.closed and len(message.fds) == 1
    for thing in (owned, line, far, left, right, message):
        thing.close()
    resource_sharer.stop(SECONDS)
    told = b""
    while True:  # until nobody has the other end
        assert select.select([readable], [], [], SECONDS)[0]
        more = os.read(readable, 1000)
        if not more:
            break
        told += more
    assert told == b"argument queue answer pool result pool result ", told


if __name__ == "__main__":
    main(sys.argv[1])
