"""From captured rows to training batches: features, training sets; and how a wing makes things."""
