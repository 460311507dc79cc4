"""The OpenAI-style videos API, as several servers speak it; the create is taken to bill."""
