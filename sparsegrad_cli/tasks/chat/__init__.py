"""Conversations to train a chat model on: read, checked, and walked from the root to every leaf."""
