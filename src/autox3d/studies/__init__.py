"""Studies of the search: searches and trainings that differ in one thing; one file per kind."""
