"""What carries a call: admission, the runner, the resolver."""
