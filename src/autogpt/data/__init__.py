"""Files → examples → splits → batches.

`readers`, `cleaning` and `splits` are torch-free; `tokenizers` and `batching` are imported by their own names, so that
looking at a file does not load torch.
"""

from autogpt.data.cleaning import to_examples
from autogpt.data.readers import Table, fingerprint, read, sample
from autogpt.data.splits import Dataset, SealedSplit, prepare

__all__ = ["Dataset", "SealedSplit", "Table", "fingerprint", "prepare", "read", "sample", "to_examples"]
