"""One rewrite, from the match to the splice, and the worklist that drives them."""
