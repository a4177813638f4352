import cython

from shadowd.stream.flow cimport FlowSink

cdef class PlainSink(FlowSink):
    pass

cdef class _Held:
    cdef public long long acked
    cdef public long long end
    cdef public object event
    cdef public object half
    cdef public bint idle
    cdef public object plain
    cdef public long long size
    cdef public long long time

cdef class TlsSession(FlowSink):
    cdef public long long _acked
    cdef public bint _asking
    cdef public object _charge
    cdef public object _flow
    cdef public long long _held
    cdef public long long _idle
    cdef public object _keyring
    cdef public object _marks
    cdef public object _order
    cdef public list _plain
    cdef public long long _plain_acked
    cdef public str _reason
    cdef public object _unopened
    cdef public bint _waits
    cdef public object connection
    cdef public FlowSink inner
    cdef public str state
    cpdef data(self, long long direction, bytes data, long long time)
