"""The site, built by `make docs`: pages of this folder, notes of results, and references made from the code.

Whatever Sphinx warns of fails the build: a link or an anchor that leads nowhere, a page that no list of contents has, a
name of this project in a docstring that does not exist, a public name without documentation (`site_pages`). Pages are
plain Markdown that a code host shows as well; what only the site has is put in by `site_pages`.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import rlgan  # noqa: E402

project = "rlgan"
author = copyright = "rlgan authors"
version = release = rlgan.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "site_pages"]
# The source folder is the project's, so that links between pages, notes and files are the same here as on a code host.
root_doc = "docs/index"
include_patterns = ["docs/**.md", "benchmarks/results/*.md", "examples/*.md", "*.md"]
exclude_patterns = [".venv", ".git", "build", "runs", "tests", "rlgan", "envs", "tuning", "**/node_modules"]
html_extra_path = ["site_root"]

nitpicky = True
default_role = "name_or_code"
myst_heading_anchors = 6
myst_enable_extensions = ["html_image"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "undoc-members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"rlgan {release}"
html_show_sphinx = False
pygments_style = "friendly"
copybutton_exclude = ".linenos, .gp, .go"
