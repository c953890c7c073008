"""A document drawn: for the terminal, as Markdown, LaTeX, HTML and CSV."""
