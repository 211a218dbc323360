"""How Sphinx makes the documentation: `python3 start.py docs` writes it to docs/_build."""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "Logic"), str(PROJECT / "SelfConfiguringSegmentation")]

from selfseg import __version__  # noqa: E402 - found by the line above

project = "SelfConfiguringSegmentation"
author = "SelfConfiguringSegmentation contributors"
release = version = __version__
language = "en_GB"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "code"  # `word` in docstrings
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Self-Configuring Segmentation {release}"
html_show_copyright = False  # LICENSE says it

myst_heading_anchors = 6  # pages link to each other's headings, as on GitHub

# The reference is made from signatures and docstrings, in the order of the source.
autodoc_member_order = "bysource"
autodoc_mock_imports = ["slicer"]  # the module is described where there is no Slicer
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
