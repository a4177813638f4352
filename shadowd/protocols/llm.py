"""Conversations with language models, recognised by their shape and rebuilt from what was streamed (sans-IO).

A request is recognised by its JSON and its path, never by its host, so that gateways and compatible servers (vLLM,
LiteLLM, Azure, Ollama, Groq, OpenRouter …) are recognised too:

===========  ============================================  ========================================================
``api``      request                                       answer
===========  ============================================  ========================================================
chat         ``messages``, OpenAI Chat Completions; the    ``choices``; chunks end with ``[DONE]``
             older ``prompt`` at ``…/completions``
responses    ``input`` at ``…/responses``                  ``output``; events end with ``response.completed`` …
anthropic    ``messages`` at ``…/messages``                ``content``; events end with ``message_stop``
ollama       ``…/api/chat`` and ``…/api/generate``         lines of JSON; the last has ``done``
gemini       ``contents`` at ``…enerateContent``           ``candidates``; chunks simply end
===========  ============================================  ========================================================

``llm_request`` recognises. ``llm_reader`` takes one answer's content, streamed or whole, and gives the ``Message``: how
each vendor's pieces are joined is in ``llm_assembly`` and the modules beside it. What is not understood is counted and
never in the way; nothing raises but ``LlmError``.
"""

from shadowd.protocols.llm_assembly import Message, ToolCall
from shadowd.protocols.llm_reader import LlmError, Reader
from shadowd.protocols.llm_request import Ask, recognise_untrusted

__all__ = ["Ask", "LlmError", "Message", "Reader", "ToolCall", "recognise_untrusted"]
