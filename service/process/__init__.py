"""What starts and stops: the command line, the server, the stack for trials."""
