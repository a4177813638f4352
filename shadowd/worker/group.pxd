import cython

from shadowd.evidence.trial cimport Side, Trial
from shadowd.exchange.exchange cimport Exchange
from shadowd.ledger.ledger cimport FilterAccount
from shadowd.protocols.http1 cimport Http1Codec
from shadowd.replay.engine cimport Engine
from shadowd.worker.filters cimport Filter

cdef class Participant:
    cdef public list _past
    cdef public Filter filter
    cdef public list lanes
    cdef public list talks
    cdef public dict twins

cdef class Group:
    cdef public object codec
    cdef public long long _draw
    cdef public object _flow
    cdef public Http1Codec http
    cdef public object _on_fault
    cdef public object _outer
    cdef public list participants
    cdef public bytes _preamble
    cdef public bint _raw
    cdef public bint _streams
    @cython.locals(engine=Engine, participant=Participant, chosen=Filter, account=FilterAccount, reason=str, lanes=list, now='long long')
    cpdef request(self, Exchange exchange)
    @cython.locals(chosen=Filter, trial=Trial, side=Side)
    cpdef _compare(self, Participant participant, Exchange exchange, list sides, list lanes)
    cpdef response(self, Exchange exchange)
    @cython.locals(http=Http1Codec)
    cpdef deliver(self, long long direction, bytes data, long long time)
