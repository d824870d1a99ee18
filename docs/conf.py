"""How Sphinx builds the site; `build_site.py` prepares the sources."""

import sys
from pathlib import Path

import functional_optim

sys.path.insert(0, str(Path(__file__).parent))  # for sitegen

project = "functional_optim"
version = release = functional_optim.__version__
extensions = ["myst_nb", "sphinx.ext.viewcode", "sphinx_copybutton", "sitegen.crossref"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are committed as `make notebooks` ran them

smartquotes = False

html_theme = "furo"
html_title = "functional_optim"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["tables.js"]
html_favicon = "_static/icon.svg"
html_theme_options = {"navigation_with_keys": True}
pygments_style = "tango"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
