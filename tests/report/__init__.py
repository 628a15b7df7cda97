"""What a run did, as records, as text and as JSON."""
