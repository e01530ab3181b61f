"""The target ``aws_lambda``."""
