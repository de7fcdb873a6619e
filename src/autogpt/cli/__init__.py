"""The command line: one small file a verb; parses, makes one call, prints for a person or as JSON."""
