"""crawler: a batch fetcher and crawler that never loses its place."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
