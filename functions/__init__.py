"""Ready examples: functions over the stream of a supermarket chain's orders.

Each module declares one function, and nothing here needs a database, a client or the dispatcher: what a
function must know is in its event. Copy one as a start for your own.
"""
