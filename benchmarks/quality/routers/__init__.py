"""`bench routers`: trained routers against what needs no training, at equal cost and at equal time."""
