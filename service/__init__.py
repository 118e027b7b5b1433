"""The gRPC service: plans, the runner that carries them out, the resolver, and the RPCs above both."""
