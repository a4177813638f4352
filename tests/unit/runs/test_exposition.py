"""Pages of metrics: the wanted names are found, malformed ones are told, nothing else matters."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.runs.exposition import CPU, MEMORY, SIZE_LIMIT, START, ExpositionError, parse_untrusted
from tests.unit.costs import LINEAR, growth

PYTHON = b"""\
# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 352.0
# HELP process_virtual_memory_bytes Virtual memory size in bytes.
process_virtual_memory_bytes 1.89435904e+08
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 2.4571904e+07
process_start_time_seconds 1.70000000012e+09
process_cpu_seconds_total 0.14
http_requests_total{method="GET",code="200"} 1027 1395066363000
http_requests_total{method="GET",code="500"} 3 1395066363000
http_requests_total{method="POST",path="/a }\\" # {x"} 5
http_requests_created{method="GET"} 1.7e9
"""

OPEN_METRICS = b"""\
# TYPE http_requests counter
http_requests_total{code="200"} 10 # {trace_id="abc"} 0.67
http_requests_total{code="404"} 2\r
process_resident_memory_bytes{worker="1"} 100\r
process_resident_memory_bytes{worker="2"}\t200
process_start_time_seconds{worker="1"} 20
process_start_time_seconds{worker="2"} 10
# EOF
"""


def test_a_page_of_the_python_client() -> None:
    assert parse_untrusted(PYTHON, "http_requests_total") == {
        MEMORY: 24571904.0,
        CPU: 0.14,
        START: 1700000000.12,
        "http_requests_total": 1035.0,
    }
    assert "http_requests_total" not in parse_untrusted(PYTHON)


def test_open_metrics_and_several_series() -> None:
    assert parse_untrusted(OPEN_METRICS, "http_requests") == {MEMORY: 300.0, START: 10.0, "http_requests": 12.0}


def test_a_name_within_a_name_is_another() -> None:
    page = b"my_process_resident_memory_bytes 1\nprocess_resident_memory_bytes_max 2\n" + PYTHON
    assert parse_untrusted(page)[MEMORY] == 24571904.0


@pytest.mark.parametrize("value", ["", "x", "NaN", "+Inf", "-1", "1_000", "1 2 3", '{a="} 1', "{a=1} 5 x y", "0x10"])
def test_a_wanted_line_that_is_malformed_is_told(value: str) -> None:
    with pytest.raises(ExpositionError, match=f"line 2: no valid sample of {MEMORY}"):
        parse_untrusted(f"a 1\n{MEMORY} {value}\n".encode())


@pytest.mark.parametrize("page", [b"", b"<html>502 Bad Gateway</html>", b"\x0a\x10\xff", b"up 1\n"])
def test_a_page_without_anything_wanted_is_told(page: bytes) -> None:
    with pytest.raises(ExpositionError, match="on the page — give the URL"):
        parse_untrusted(page)


def test_limits() -> None:
    with pytest.raises(ExpositionError, match="a page of 16 MB"):
        parse_untrusted(bytes(SIZE_LIMIT + 1))
    with pytest.raises(ExpositionError, match="more than 10000 series of r"):
        parse_untrusted(b"".join(b'r{a="%d"} 1\n' % n for n in range(10_001)), "r")


@given(st.binary(max_size=200), st.sampled_from([b"", MEMORY.encode(), MEMORY.encode() + b"{"]))
def test_anything_is_a_number_or_a_clear_error(data: bytes, before: bytes) -> None:
    try:
        result = parse_untrusted(before + data)
    except ExpositionError:  # and no other
        return
    assert result
    assert all(math.isfinite(value) for value in result.values())


@given(st.lists(st.tuples(st.text(max_size=8), st.integers(0, 10**6)), min_size=1, max_size=8))
def test_any_label_may_stand_there(series: list[tuple[str, int]]) -> None:
    lines = []
    for label, value in series:
        quoted = label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'r{{a="{quoted}",b="x"}} {value}')
    page = "\n".join(lines).encode("utf-8", "replace")
    assert parse_untrusted(page, "r") == {"r": sum(value for _, value in series)}


@pytest.mark.parametrize("piece", [b"{", b'"', b"\\", b'{a="', b" ", MEMORY.encode(), b"a=,"])
def test_cost_is_linear(piece: bytes) -> None:
    def read(size: int) -> None:
        with pytest.raises(ExpositionError):
            parse_untrusted(MEMORY.encode() + b"{" + piece * (size // len(piece)))

    assert growth(partial(read, 300_000), partial(read, 75_000)) < LINEAR
