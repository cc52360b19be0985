"""The site: sphinx-build -n -b html docs OUT, where fdpass[docs,aio] is installed."""

import re

from docutils import nodes
from sphinx.util import logging

import fdpass

project = "fdpass"
version = release = fdpass.__version__
html_title = "fdpass " + release
html_theme = "furo"
html_show_copyright = False
extensions = ["sphinx.ext.autodoc"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # a mode as 0o600, not as 384
default_role = "py:obj"
highlight_language = "text"
nitpick_ignore = [("py:exc", "socket.error")]  # Python 2's

PAGE = re.compile(r"([\w-]+)\.rst(#(.+))?\Z")


def link_pages(app, doctree, here):
    """A link to page.rst#section, which works on a code host, made to work here; if dead, warn."""
    for link in doctree.findall(nodes.reference):
        found = PAGE.match(link.get("refuri", ""))
        if not found:
            continue
        page, anchor, section = found.groups()
        known = page in app.env.found_docs
        if known and (section is None or section in app.env.get_doctree(page).ids):
            link["refuri"] = app.builder.get_relative_uri(here, page) + (anchor or "")
            link["internal"] = True
        else:
            logging.getLogger(__name__).warning("dead link: %s", link["refuri"], location=link)


def setup(app):
    app.connect("doctree-resolved", link_pages)
