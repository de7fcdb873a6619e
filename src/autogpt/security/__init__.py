"""Who may do what: access keys and roles. Torch-free, and without storage of its own."""
