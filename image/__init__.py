"""What makes releases and images of the gateway; no part of what runs."""
