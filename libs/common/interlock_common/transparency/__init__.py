"""What makes the audit log tamper-evident, without input or output: the service and the verifier share it."""
