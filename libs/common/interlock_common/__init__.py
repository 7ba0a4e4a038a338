"""What the services of Interlock share: contracts, the bus, identity and telemetry."""
