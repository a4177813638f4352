"""shadowd: mirror live TCP flows from the kernel to shadow hosts and account for every request.

Data flows downward through the packages, and imports point the same way:
``capture`` (kernel, ring) -> ``stream`` (reassembly) -> ``protocols`` (requests, responses) -> ``policy``
-> ``replay`` (shadow connections) -> ``compare``; ``ledger`` keeps the account; ``control`` and ``cli`` are the
surface.
"""

__version__ = "0.1.0"
