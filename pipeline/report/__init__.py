"""What people look at after a run: one page, the pictures in it, and the model card."""
