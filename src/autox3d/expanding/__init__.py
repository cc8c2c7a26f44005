"""The work of an expansion's steps: what their networks cost, and how good they are."""
