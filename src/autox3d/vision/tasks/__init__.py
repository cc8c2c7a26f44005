"""What networks are trained for: a file a task. `metric` needs no torch."""
