"""A recipe: where, which operator, when; in Python and as strict TOML."""
