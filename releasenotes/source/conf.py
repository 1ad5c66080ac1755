# SPDX-License-Identifier: Apache-2.0
"""How the release notes are built: tools/check.sh releasenotes."""

project = "osc-imagetools"
copyright = "osc-imagetools developers"
version = release = ""
language = "en"

extensions = ["openstackdocstheme", "reno.sphinxext"]

openstackdocs_auto_name = False
openstackdocs_auto_version = False
html_theme = "openstackdocs"
html_last_updated_fmt = None
