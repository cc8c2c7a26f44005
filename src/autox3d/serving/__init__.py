"""A trained network behind MLflow's server."""
