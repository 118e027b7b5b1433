"""What each request means: one pure function a request, in the groups of the quick start."""
