"""The renderers of the document model, one file a medium: text (a terminal or a pipe), Markdown, LaTeX and HTML."""
