"""Operations that have a plain version and a fast one; property tests hold the two together."""
