"""Sub-commands that join several parts of the project. None imports a slow library at its top."""
