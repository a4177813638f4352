import cython

from shadowd.stream.flow cimport Flow, FlowSink
from shadowd.tls.connection cimport Connection
from shadowd.tls.records cimport Half

cdef class PlainSink(FlowSink):
    pass

cdef class _Held:
    cdef public long long acked
    cdef public long long end
    cdef public object event
    cdef public Half half
    cdef public bint idle
    cdef public object plain
    cdef public long long size
    cdef public long long time

cdef class TlsSession(FlowSink):
    cdef public long long _acked
    cdef public bint _asking
    cdef public object _charge
    cdef public long long _counted
    cdef public Flow _flow
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
    cdef public Connection connection
    cdef public PlainSink inner
    cdef public str state
    cpdef data(self, long long direction, bytes data, long long time)
    @cython.locals(begun=bint, at='long long', records=list)
    cpdef _take(self, Half half, bytes data, long long time)
    @cython.locals(connection=Connection, direction='long long', framing='long long', done='long long', whole=list, record=bytes)
    cpdef _hand_on(self, Half half, list records, long long at, long long time, long long idle)
    cpdef _mark(self, long long end)
    @cython.locals(connection=Connection, buffered='long long')
    cpdef _account(self)
