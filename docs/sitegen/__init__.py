"""Makes the pages of the site out of the package's docstrings and the Markdown of the repository."""
