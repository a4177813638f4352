"""Where the commands that repeat a request are looked for: they are made in ``observe/curl.py``."""

from shadowd.observe.curl import commands, quoted

__all__ = ["commands", "quoted"]
