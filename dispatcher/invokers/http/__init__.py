"""Functions behind HTTP; and, for what speaks HTTP to a cloud, the connection with its deadlines and bounds."""
