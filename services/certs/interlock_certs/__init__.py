"""The certificate authority of the deployment."""
