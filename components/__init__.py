"""What the nodes of the graph run: one file each."""
