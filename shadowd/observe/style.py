"""The style sheet of the report: the file ``templates/report/style.css``, for pages that are made elsewhere."""

from __future__ import annotations

from shadowd.observe.templating import render

STYLE = render("report/style.css")
