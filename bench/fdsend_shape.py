"""Builds the C extension beside this file, with the tools that Python 2.7 brings along."""

import os
import shutil
import tempfile

from measure import Missing

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fdsend_shape.c")


loaded = []


def built():
    """The extension, compiled with the flags of this Python when it is first asked for."""
    if not loaded:
        loaded.append(compiled())
    return loaded[0]


def compiled():
    # Python 2.7 always has them, the newest Python 3 neither.
    import imp
    from distutils import ccompiler, errors, sysconfig

    folder = tempfile.mkdtemp()
    try:
        compiler = ccompiler.new_compiler()
        sysconfig.customize_compiler(compiler)
        library = os.path.join(folder, "fdsend_shape.so")
        objects = compiler.compile(
            [SOURCE], output_dir=folder, include_dirs=[sysconfig.get_python_inc()]
        )
        compiler.link_shared_object(objects, library)
        return imp.load_dynamic("fdsend_shape", library)
    except (errors.CCompilerError, errors.DistutilsError) as error:
        raise Missing("not built (%s): install a C compiler and the headers of 2.7" % error)
    finally:
        shutil.rmtree(folder)
