"""What a pipeline will take, before it runs."""
