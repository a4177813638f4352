"""shadowd: mirror live TCP flows from the kernel to shadow hosts and account for every request.

Data flows downward through the packages, and imports point the same way (docs/architecture.md).
"""

from shadowd import compiled as compiled

__version__ = "0.2.0"
