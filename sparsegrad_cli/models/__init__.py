"""Pretrained checkpoints: where they are, and the classifiers that start from them."""
