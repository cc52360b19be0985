"""fdpass: the installed package, otherwise the one of the checkout that this file lies in."""

import os
import sys

try:
    import fdpass
except ImportError:
    sys.path.insert(1, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import fdpass

__all__ = ["fdpass"]
