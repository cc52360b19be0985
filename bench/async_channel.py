"""The loop of the aio row. Python 2.7 cannot read this file, and never imports it."""

import asyncio
from contextlib import closing, contextmanager
from itertools import repeat

from fdpass import aio


@contextmanager
def looped(data):
    """Messages that are received as soon as they are sent, all in one event loop."""
    left, right = aio.Channel.pair()

    async def run(count):
        for _ in repeat(None, count):
            await left.send(data)
            await right.recv()

    with closing(left), closing(right), closing(asyncio.new_event_loop()) as loop:
        yield lambda count: loop.run_until_complete(run(count))
