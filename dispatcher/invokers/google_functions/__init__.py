"""The target ``google_function``."""
