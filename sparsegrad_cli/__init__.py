"""SparseGrad: fine-tuning in a basis where the gradients of the MLP layers are nearly sparse."""

__version__ = "0.1.0"
