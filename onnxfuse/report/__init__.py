"""What a run did, as records, and as text and JSON made from them."""
