import cython

from shadowd.evidence.trial cimport Side, Trial
from shadowd.exchange.exchange cimport Request, Response

cdef class Examining:
    cdef public long long _allowance
    cdef public object _budget
    cdef public long long by_digest
    cdef public long long _bytes
    cdef public object _clock
    cdef public long long elsewhere
    cdef public object failed
    cdef public object heavy
    cdef public object _light
    cdef public object on_failure
    cdef public object on_heavy
    cdef public long long _refilled_at
    cdef public long long _spent
    @cython.locals(production=Response, candidate=Response, other=Response, third=Side, same=bint)
    cpdef take(self, Trial trial)
    cpdef _examine(self, Trial trial)
