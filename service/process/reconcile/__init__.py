"""`jzb reconcile`: closes bank days through the gRPC API, and shows what they lack."""
