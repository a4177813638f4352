import cython

from shadowd.exchange cimport octets
from shadowd.exchange.exchange cimport Response
from shadowd.protocols.http1_framing cimport MessageReader

cdef long long HEAD, LENGTH, CHUNKED, STOPPED, UNTIL_EOF

cdef class ResponseReader(MessageReader):
    cdef public long long _body_limit
    cdef public bint _closed
    cdef public object _digest
    cdef public object _expected
    cdef public long long interim
    cdef public long long interim_bytes
    cdef public long long _last
    cdef public object _marks
    cdef public bytes trailing
    cdef public bint upgraded
    cpdef expect(self, bytes method)
    @cython.locals(begin='long long')
    cpdef feed_untrusted(self, bytes data, long long time)
    @cython.locals(size='Py_ssize_t', status='long long', method=bytes, end='long long', value='long long', length='long long', present='long long', begin='long long', stop='long long', head=bytes, lowered=bytes, awaited=list, response=Response)
    cpdef _whole_head(self, bytes data, long long time)
    @cython.locals(size='long long', stop='long long', head=bytes, response=Response)
    cpdef _more_body(self, bytes data, long long time)
