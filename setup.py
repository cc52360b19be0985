import io
import os
import re
import sys

from setuptools import setup

HERE = os.path.dirname(os.path.abspath(__file__))
# For the binding, which is Python 2's alone; PyPy brings a cffi of its own.
CFFI = "cffi>=1.11,<1.16; python_version < '3' and platform_python_implementation != 'PyPy'"


def read(*names):
    with io.open(os.path.join(HERE, *names), encoding="utf-8") as source:
        return source.read()


OPTIONS = dict(
    name="fdpass",
    version=re.search(r'__version__ = "(.+)"', read("fdpass", "__init__.py")).group(1),
    description="Pass open file descriptors between Unix processes, on Python 2.7 and 3",
    long_description=read("README.rst") + "\n" + read("CHANGELOG.rst"),
    long_description_content_type="text/x-rst",
    license="MIT",
    packages=["fdpass", "fdpass.compat"],
    package_data={"fdpass": ["py.typed", "*.pyi"], "fdpass.compat": ["*.pyi"]},
    zip_safe=False,
    python_requires=">=2.7,!=3.0.*,!=3.1.*,!=3.2.*",
    install_requires=[CFFI],
    extras_require={"test": ["pytest>=4.6", "six"]},
    keywords="descriptor fd socket unix SCM_RIGHTS sendmsg recvmsg",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 2",
        "Programming Language :: Python :: 2.7",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.6",
        "Programming Language :: Python :: 3.7",
        "Programming Language :: Python :: 3.8",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Programming Language :: Python :: 3.15",
        "Programming Language :: Python :: Implementation :: CPython",
        "Programming Language :: Python :: Implementation :: PyPy",
        "Topic :: System :: Networking",
        "Topic :: Software Development :: Libraries :: Python Modules",
        "Typing :: Typed",
    ],
)
if sys.version_info[0] == 2:
    OPTIONS["setup_requires"] = [CFFI]
    OPTIONS["cffi_modules"] = ["fdpass/_ffi_build.py:ffibuilder"]

setup(**OPTIONS)
