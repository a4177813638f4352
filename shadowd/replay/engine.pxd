import cython

from shadowd.evidence.trial cimport Side, Trial
from shadowd.exchange.exchange cimport Exchange, Request, Response
from shadowd.ledger.budget cimport Budget
from shadowd.ledger.ledger cimport TargetAccount
from shadowd.policy.policy cimport Policy
from shadowd.replay.connection cimport Connection
from shadowd.replay.leg cimport Leg
from shadowd.replay.target cimport Target
from shadowd.replay.timing cimport SegmentTimes

cdef class Engine:
    cdef public object _again
    cdef public long long body_limit
    cdef public object _broken
    cdef public Budget budget
    cdef public long long buffered
    cdef public object _closed
    cdef public object _connecting
    cdef public dict _connections
    cdef public list _ended
    cdef public object epoll
    cdef public object examining
    cdef public long long kept
    cdef public long long max_buffered
    cdef public long long _next_sweep
    cdef public object _on_tls_error
    cdef public object own_mark
    cdef public list _ready
    cdef public object _retired
    cdef public long long spared
    cdef public object stalls
    cdef public long long taken
    cdef public object targets
    cdef public object _time_socket
    cdef public dict _timings
    cdef public dict _waiting
    @cython.locals(leg=Leg, connection=Connection, trial=Trial, exchange=Exchange)
    cpdef settle(self)
    @cython.locals(connection=Connection, index='long long')
    cpdef long long dispatch(self, long long now) except -1
    cpdef _handle(self, Connection connection, long long events, long long now)
    @cython.locals(target=Target, account=TargetAccount, request=Request, size='long long', leg=Leg, wire=bytes, since='long long', edit=bint)
    cpdef Side submit(self, Exchange exchange, Policy policy, lane, long long now, bint twin=*)
    @cython.locals(target=Target)
    cpdef Target _end(self, Leg leg)
    @cython.locals(target=Target)
    cpdef answered(self, Leg leg)
    @cython.locals(trial=Trial, response=Response, leg=Leg)
    cpdef primary_known(self, Exchange exchange)
    cpdef _examine(self, Trial trial)
    @cython.locals(exchange=Exchange, target=Target, primary=Response, answer=Response)
    cpdef pair(self, Leg leg)
    @cython.locals(times=SegmentTimes)
    cpdef timing(self, unsigned long long cookie, long long direction, long long seq, long long length, long long flags, long long time)
