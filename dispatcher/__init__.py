"""The dispatcher: consumes streams and pushes each event, alone or in batches, into its function."""
