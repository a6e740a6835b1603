"""What `dev.py` does, by concern. Standard library only, and no side effect at import."""
