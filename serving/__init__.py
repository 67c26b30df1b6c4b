"""What queries the pushed model: nothing here imports TFX."""
