"""Drop-in replacements for python-fdsend, python-passfd, sendmsg and socketfromfd.

Import one in the place of the original (``from fdpass.compat import passfd``), or let `install`
put them where ``import passfd`` finds them, or run an unmodified program with
``python -m fdpass.compat passfd -- PROGRAM``.
"""

import importlib
import sys

NAMES = ("fdsend", "passfd", "sendmsg", "socketfromfd")


def install(*names):
    """Put drop-ins into ``sys.modules`` under the originals' names, for every later import of them.

    :param names: of ``fdsend``, ``passfd``, ``sendmsg`` and ``socketfromfd``; with none, all four.
    :raises ValueError: there is no drop-in of that name.
    :raises ImportError: another module of that name is imported already: what uses it would go on
        with it. Call install before.

    Whatever is raised, nothing was installed. To call it twice does no harm.
    """
    for name in names:
        if name not in NAMES:
            raise ValueError("no drop-in is called %r; there are: %s" % (name, ", ".join(NAMES)))
    modules = {name: importlib.import_module("." + name, __name__) for name in names or NAMES}
    for name, module in modules.items():
        if sys.modules.get(name, module) is not module:
            raise ImportError(
                "another module %s is imported already (%s): install the drop-in before anything"
                " imports it" % (name, getattr(sys.modules[name], "__file__", "built in"))
            )
    sys.modules.update(modules)
