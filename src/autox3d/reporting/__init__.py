"""Reports for people: figures, a page and a table."""
