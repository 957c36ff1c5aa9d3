"""Discovery: from what is learned to what a person sees: neighbors, relevance, serving."""
