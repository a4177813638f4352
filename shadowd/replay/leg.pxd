from shadowd.evidence.trial cimport Side
from shadowd.exchange.exchange cimport Exchange
from shadowd.replay.target cimport Target

cdef class Leg(Side):
    cdef public object connection
    cdef public long long deadline
    cdef public Exchange exchange
    cdef public object lane
    cdef public long long queued_at
    cdef public long long received_before
    cdef public bint retried
    cdef public long long sent_end
    cdef public long long since
    cdef public long long size
    cdef public Target target
    cdef public tuple trials
    cdef public bint twin
    cdef public bytes wire
