"""What runs in the arms' processes; each module imports the library that it is about, so none is imported by the harness."""
