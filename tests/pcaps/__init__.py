"""Capture files of TCP cases, made by code so that a reader sees what is in them.

``craft`` builds packets and files with dpkt, which shares no line with the reader under test; ``cases`` are the cases,
each with the answer.
"""
