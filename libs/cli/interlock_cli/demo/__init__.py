"""``interlock demo``: the gateway at work, shown and checked line by line."""
