"""The audit service: the tamper-evident record of what happened."""
