"""Pages: each loads a view and shows it, and decides nothing."""
