"""Other kernels: guests under qemu that run what this tree holds. Not part of ``make test``: see docs/kernels.md."""
