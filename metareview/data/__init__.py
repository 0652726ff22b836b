"""From cleaned texts to token ids: cleaning, prompts, context, tokenization, splits."""
