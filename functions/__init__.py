"""Ready examples: functions over the stream of a supermarket chain's orders.

Each folder is one function and all that it needs: no database, no client, no dispatcher, and nothing of the other
folders, so that it runs here as it is and is deployed as it is. Of an order each declares the fields that it
reads; ``scripts/make_orders.py`` writes whole ones. Copy a folder as a start for your own.
"""
