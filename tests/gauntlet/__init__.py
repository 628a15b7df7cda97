"""The gauntlet: small models that are each a trap for a graph rewriter."""
