"""``shadowctl top``: filters, targets, differences and exchanges, live on a terminal.

``command.py`` is what is typed; ``asking.py`` asks the daemon in a thread of its own; ``picture.py`` is what is known,
and says it in cells; the other modules are screens (Textual), imported by the command alone.
"""
