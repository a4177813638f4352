import cython

from shadowd.evidence.contents cimport Moment
from shadowd.evidence.endpoints cimport Endpoints
from shadowd.evidence.evidence cimport Balance, Endpoint, Outcomes
from shadowd.evidence.pairing cimport Pairing
from shadowd.evidence.stretches cimport Tally
from shadowd.evidence.timing cimport Timing
from shadowd.evidence.trial cimport Side, Trial
from shadowd.exchange.exchange cimport Exchange, Request, Response

cdef class Examiner:
    cdef public long long began
    cdef public long long by_digest
    cdef public object clock
    cdef public long long compared
    cdef public object contents
    cdef public object conversations
    cdef public object drift
    cdef public object ended
    cdef public dict endpoints
    cdef public long long evidence_began
    cdef public long long faults
    cdef public object held
    cdef public long long incomparable
    cdef public Tally keeping
    cdef public Tally lagging
    cdef public long long latest
    cdef public Tally limited
    cdef public Endpoints _names
    cdef public object _needy
    cdef public object outages
    cdef public Outcomes outcomes
    cdef public Tally own_lag
    cdef public long long _past
    cdef public object reference_outages
    cdef public object rules
    cdef public object _run_key
    cdef public object settings
    cdef public object shed
    cdef public object _signatures
    cdef public object strangers
    cdef public Timing timing
    cdef public long long twins
    cdef public long long uncomparable
    cdef public object _versions
    cdef public long long _warm_until
    cdef public long long warmed
    cdef public object watch
    cpdef examine(self, Trial trial)
    @cython.locals(exchange=Exchange, side=Side, request=Request, production=Response, candidate=Response, moment=Moment, endpoint=Endpoint, third=Side, time='long long', drifting=bint, stranger=bint, other_status=bint)
    cpdef _weigh(self, Trial trial)
    cpdef Endpoint _endpoint(self, Request request)
    @cython.locals(exchange=Exchange, side=Side, production=Response, candidate=Response, ours='long long', theirs='long long')
    cpdef _judge_outcome(self, Trial trial, Endpoint endpoint, Moment moment, tuple inside, bint drifting, bint stranger)
    @cython.locals(outcomes=Outcomes, balance=Balance, time='long long', group='long long')
    cpdef _count_outcome(self, Endpoint endpoint, Moment moment, long long ours, long long theirs)
