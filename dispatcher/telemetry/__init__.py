"""What the dispatcher tells about itself: counts, logs."""
