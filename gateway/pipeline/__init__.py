"""What happens next to a study: completion, conversion, delivery."""
