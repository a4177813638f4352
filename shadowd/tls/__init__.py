"""TLS of production's connections, read with the secrets of their handshakes (pure: no I/O, no clock)."""
