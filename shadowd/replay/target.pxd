import cython

from shadowd.evidence.latency cimport LatencySketch
from shadowd.exchange.exchange cimport Exchange, Response
from shadowd.ledger.ledger cimport TargetAccount

cdef class TargetLimits:
    cdef public long long connect_timeout
    cdef public long long max_buffered
    cdef public long long max_connections
    cdef public long long max_in_flight
    cdef public long long max_lag
    cdef public object max_rps
    cdef public long long stream_window
    cdef public long long timeout

cdef class Target:
    cdef public TargetAccount account
    cdef public object addresses
    cdef public long long answer_limit
    cdef public set blocked
    cdef public long long branches
    cdef public object _breaker_rest
    cdef public long long breaker_until
    cdef public long long buffered
    cdef public bint busy
    cdef public long long connecting
    cdef public long long connections
    cdef public object _failures
    cdef public object host
    cdef public bytes host_header
    cdef public bint http1_only
    cdef public dict idle
    cdef public object itself
    cdef public TargetLimits limits
    cdef public object _next_address
    cdef public bint pinned
    cdef public object port
    cdef public LatencySketch production_latency
    cdef public object protocol
    cdef public object _rated
    cdef public object _rated_at
    cdef public bint removed
    cdef public object resolve_error
    cdef public object _resting
    cdef public object role
    cdef public object scheme
    cdef public object server_name
    cdef public object sessions
    cdef public LatencySketch shadow_latency
    cdef public long long short_until
    cdef public dict starved
    cdef public long long status_differences
    cdef public long long timed
    cdef public object tls
    cdef public object tls_error
    cdef public object tls_streams
    cdef public object _tokens
    cdef public object _tokens_at
    cdef public long long _untimed
    cdef public object unwelcome
    cdef public object url
    cpdef learn_session(self, Exchange exchange, Response answer)
    @cython.locals(limits=TargetLimits)
    cpdef str admits(self, long long size, long long now)
