"""Search of a step list on a user's own model: a table of what leaving steps out costs, then real runs."""
