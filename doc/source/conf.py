# SPDX-License-Identifier: Apache-2.0
"""How the documentation is built: tools/check.sh docs."""

import importlib.metadata
import os
import sys

sys.path.insert(0, os.path.abspath("_ext"))

import command_pages

project = "osc-imagetools"
copyright = "osc-imagetools developers"
version = release = importlib.metadata.version("osc-imagetools")
language = "en"

extensions = [
    "cliff.sphinxext",
    "command_outcomes",
    "command_pages",
    "compatibility_table",
    "error_table",
    "myst_parser",
    "openstackdocstheme",
    "reason_sections",
    "sphinx.ext.autodoc",
]
source_suffix = {".rst": "restructuredtext"}
# devcloud/README.md is included; its links lead to files of the repository.
suppress_warnings = ["myst.header", "myst.xref_missing"]

# The pages of the commands describe their own options; those of the output formatters are cliff's.
autoprogram_cliff_application = "openstack"
autoprogram_cliff_app_dist_name = "osc-imagetools"
autoprogram_cliff_ignored = [
    "--help",
    "--format",
    "--column",
    "--noindent",
    "--variable",
    "--prefix",
    "--max-width",
    "--fit-width",
    "--print-empty",
    "--quote",
    "--sort-column",
    "--sort-ascending",
    "--sort-descending",
]

man_pages = command_pages.man_pages()

autodoc_typehints_format = "short"

openstackdocs_auto_name = False
openstackdocs_auto_version = False
html_theme = "openstackdocs"
html_theme_options = {"display_toc": True}
html_last_updated_fmt = None
