"""Is the new one worse? Two networks on the same images and draws: an answer for each condition."""
