"""What passes between the steps: a request, production's response to it, and their place on the connection."""

from shadowd.exchange.exchange import Exchange, Request, Response

__all__ = ["Exchange", "Request", "Response"]
