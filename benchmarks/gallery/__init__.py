"""The workflows that ship with the pack: how each graph is built, laid out and explained; `zoo.write_workflows` writes them."""
