"""What people look at: figures, one page, one table."""
