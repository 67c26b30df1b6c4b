"""The graph, its configuration, its runner and the command line."""
