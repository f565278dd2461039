"""Rows of records -> blocks -> terminal, Markdown, CSV, LaTeX, one HTML page."""
