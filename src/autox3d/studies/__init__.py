"""Studies of the search: many searches and trainings that differ in one thing, a file a kind."""
