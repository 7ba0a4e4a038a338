"""What the integration stories are told with: deployments, upstreams, clients."""
