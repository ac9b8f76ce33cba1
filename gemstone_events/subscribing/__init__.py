"""From what a transport delivers to its durable outcome, exactly as often as the handlers' plan says."""
