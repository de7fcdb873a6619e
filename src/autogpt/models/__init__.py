"""The GPT itself, pretrained bases, adapters, and how models are saved, loaded and sized."""
