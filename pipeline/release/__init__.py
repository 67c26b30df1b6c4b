"""Which of the pushed versions are served, and under which labels."""
