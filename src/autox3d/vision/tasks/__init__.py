"""What networks are trained for, a file for each task."""
