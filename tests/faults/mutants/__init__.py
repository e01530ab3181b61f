"""Dispatchers that are broken on purpose, one a module; ``apply()`` breaks the one in this process."""
