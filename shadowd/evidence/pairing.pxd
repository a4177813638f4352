from shadowd.evidence.trial cimport Side, Trial
from shadowd.exchange.exchange cimport Response

cdef class Pairing:
    cdef public object _epoch
    cdef public object _host
    cdef public bint _preserve_host
    cdef public Trial _trial
