"""The examples and what the READMEs say of them."""
