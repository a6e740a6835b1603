"""Files that are copied into the private environment, where torch is; nothing here is imported by `dev.py`."""
