"""One run, from the request to the published output."""
