"""What the demo declares: tables, features, and the road from them to a feed."""
