"""Servers of TLS as people run them, each of which writes down what it was asked."""
