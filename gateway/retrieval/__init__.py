"""A set of instances, a rendition, a destination, and what happened to each instance."""
