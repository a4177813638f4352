"""Clients and servers of HTTP/2 that others wrote: node's, Go's and Envoy's."""
