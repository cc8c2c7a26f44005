"""Code shared by search, training and testing: a change here reruns all three."""
