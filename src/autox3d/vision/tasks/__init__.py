"""The tasks that networks are trained for, one file per task."""
