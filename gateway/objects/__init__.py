"""An object as bytes: elements, recipes and byte streams (PS3.5, PS3.10)."""
