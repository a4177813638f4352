"""From evidence to a verdict. Evidence is told here how it is judged, since it stands below."""

import shadowd.judge.resources
import shadowd.judge.slowdown  # noqa: F401
