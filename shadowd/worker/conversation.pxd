import cython

from shadowd.tls.session cimport PlainSink
from shadowd.worker.group cimport Group

cdef class Conversation(PlainSink):
    cdef public object _ahead
    cdef public object _ahead_time
    cdef public object _charge
    cdef public object client
    cdef public unsigned long long filters
    cdef public object _flow
    cdef public object _following
    cdef public bint _given_up
    cdef public object _glance
    cdef public object _groups
    cdef public object key
    cdef public object _kind
    cdef public object _members
    cdef public bint _midstream
    cdef public object _older
    cdef public Group _only
    cdef public object _opening
    cdef public object _outer
    cdef public object _preamble
    cdef public bint _sealed
    cdef public object _start
    cdef public object _urgent
    cdef public object _why
    @cython.locals(only=Group)
    cpdef data(self, long long direction, bytes data, long long time)
