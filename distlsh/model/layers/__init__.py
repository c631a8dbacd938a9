"""The hidden layers of one batch: dense ones, hashed ones, and the stack of them."""
