"""At which budget of its KV cache a model's answers get worse, at which lengths of context, and in what way."""
