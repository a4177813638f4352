import cython

from shadowd.stream.flow cimport Flow, FlowSink
from shadowd.tls.connection cimport Connection
from shadowd.tls.marks cimport Marks
from shadowd.tls.records cimport Half

cdef class PlainSink(FlowSink):
    pass

cdef class TlsSession(FlowSink):
    cdef public long long _acked
    cdef public bint _asking
    cdef public object _charge
    cdef public long long _counted
    cdef public Flow _flow
    cdef public long long _held
    cdef public long long _idle
    cdef public object _keyring
    cdef public Marks _marks
    cdef public object _order
    cdef public bint _over
    cdef public list _plain
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
