"""What limits the service, by the evidence of its own recorders, and what to change about it."""
