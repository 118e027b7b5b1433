"""The gRPC service: plans, the runner that carries them out, the resolver, and the doors to both."""
