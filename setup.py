import gzip
import io
import os
import re
import sys
import tarfile

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

PYTHON_2 = sys.version_info[0] == 2
HERE = os.path.dirname(os.path.abspath(__file__))
# For the binding, which is Python 2's alone; PyPy brings a cffi of its own.
CFFI = "cffi>=1.11,<1.16; python_version < '3' and platform_python_implementation != 'PyPy'"


def read(*names):
    with io.open(os.path.join(HERE, *names), encoding="utf-8") as source:
        return source.read()


class build_binding(build_ext):
    """Compile the binding for Python 2. If that fails, say what to install."""

    def build_extension(self, extension):
        try:
            build_ext.build_extension(self, extension)
        except Exception as error:  # distutils has several, and setuptools brings its own of each
            path = os.path.join(HERE, "fdpass", "_ffi_build.py")
            names = {"__file__": path, "__name__": "_ffi_build"}
            exec(compile(read(path), path, "exec"), names)
            sys.exit("%s\n\n%s" % (error, names["advice"]()))


class build_modules(build_py):
    """The modules for this Python: 2 cannot read the coroutines, and 3 needs no binding."""

    def find_package_modules(self, package, package_dir):
        found = build_py.find_package_modules(self, package, package_dir)
        left_out = "_aio" if PYTHON_2 else "_ffi_build"
        return [module for module in found if module[1] != left_out]


class reproducible_sdist(sdist):
    """With SOURCE_DATE_EPOCH set (reproducible-builds.org), the same bytes at every time."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, **more):
        if "SOURCE_DATE_EPOCH" not in os.environ or format != "gztar" or root_dir is not None:
            return sdist.make_archive(self, base_name, format, root_dir, base_dir, **more)
        seconds = int(os.environ["SOURCE_DATE_EPOCH"])

        def plain(entry):
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = seconds, 0, 0, "", ""
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            return entry

        name = base_name + ".tar.gz"
        self.mkpath(os.path.dirname(name))
        with open(name, "wb") as target:
            packed = gzip.GzipFile("", "wb", 9, target, seconds)
            with packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
                tar.add(base_dir, filter=plain)
        return name


OPTIONS = dict(
    name="fdpass",
    version=re.search(r'__version__ = "(.+)"', read("fdpass", "__init__.py")).group(1),
    description="Pass open file descriptors between Unix processes, on Python 2.7 and 3",
    long_description=read("README.rst") + "\n" + read("CHANGELOG.rst"),
    long_description_content_type="text/x-rst",
    license="MIT",
    packages=["fdpass", "fdpass._command", "fdpass.compat"],
    package_data={"fdpass": ["py.typed", "*.pyi"], "fdpass.compat": ["*.pyi"]},
    zip_safe=False,
    python_requires=">=2.7,!=3.0.*,!=3.1.*,!=3.2.*",
    install_requires=[CFFI],
    extras_require={
        "aio": ["anyio>=4.10; python_version >= '3.9'"],
        "docs": ["sphinx", "furo"],
        "test": [
            "pytest>=4.6",
            "six",
            # Newer ones are compiled, and have no wheel for PyPy.
            "hypothesis; platform_python_implementation != 'PyPy' or python_version < '3'",
            "hypothesis<6.156; platform_python_implementation == 'PyPy' and python_version >= '3'",
            "anyio>=4.10; python_version >= '3.9'",
            "trio; python_version >= '3.9'",
            "uvloop; python_version >= '3.9' and platform_python_implementation == 'CPython'",
        ],
    },
    cmdclass={"build_py": build_modules, "sdist": reproducible_sdist},
    keywords="descriptor fd socket unix SCM_RIGHTS sendmsg recvmsg",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 2",
        "Programming Language :: Python :: 2.7",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.3",
        "Programming Language :: Python :: 3.4",
        "Programming Language :: Python :: 3.5",
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
        "Programming Language :: Python :: Free Threading :: 3 - Stable",
        "Programming Language :: Python :: Implementation :: CPython",
        "Programming Language :: Python :: Implementation :: PyPy",
        "Topic :: System :: Networking",
        "Topic :: Software Development :: Libraries :: Python Modules",
        "Typing :: Typed",
    ],
)
if PYTHON_2:
    OPTIONS["setup_requires"] = [CFFI]
    OPTIONS["cmdclass"]["build_ext"] = build_binding
    # With the binding's source beside its build script, an installed package can be copied.
    OPTIONS["package_data"]["fdpass"].append("_binding.c")
    OPTIONS["cffi_modules"] = ["fdpass/_ffi_build.py:ffibuilder"]

setup(**OPTIONS)
