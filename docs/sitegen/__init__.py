"""Makes the pages of the site from docstrings and from the Markdown of the repository."""
