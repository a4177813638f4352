import cython

from shadowd.ledger.budget cimport Charge

cdef class MessageReader:
    cdef public list _awaited
    cdef public long long _begin
    cdef public bytearray _body
    cdef public long long _body_length
    cdef public long long boundary
    cdef public bytearray _buffer
    cdef public Charge _charge
    cdef public bint _deferred
    cdef public long long _endless
    cdef public object error
    cdef public bytes _head
    cdef public bytes _line
    cdef public bint _loose
    cdef public bytes _lowered
    cdef public long long _max_head
    cdef public long long offset
    cdef public object _parser
    cdef public long long _part
    cdef public long long _remaining
    cdef public long long skipped
    cdef public long long _started
    cdef public long long _state
    cdef public bint _strayed
    cdef public long long _trailer
    cdef public bytearray _wire
    cpdef _renew(self)
    cpdef _judge(self, piece)
    @cython.locals(pos='long long', size='long long', state='long long')
    cpdef _read(self, bytes data, long long time)
    @cython.locals(size='long long', begin='long long', end='long long', before='long long', stop='long long', head=bytes, lowered=bytes, buffer=bytearray, fed='long long', length='long long')
    cpdef long long _read_head(self, bytes data, long long pos, long long time, list done) except -1
    cpdef long long _judge_head(self, bytes piece, bytes head) except -1
    @cython.locals(stop='long long', complete=bint)
    cpdef long long _frame(self, bytes data, long long fed, long long end, bytes head, bytes lowered, long long length, long long time, list done) except -1
    cpdef _report(self, message, long long stop, list done)
    @cython.locals(stop='long long', piece=bytes)
    cpdef long long _read_length(self, bytes data, long long pos, long long time, list done) except -1
    @cython.locals(start='long long', size='long long', step='long long', newline='long long', begin='long long', line=bytes, shown=bytes)
    cpdef long long _read_chunks(self, bytes data, long long pos, long long time, list done) except -1
    cpdef _take_unfinished(self, bytes piece)
    @cython.locals(body=bytes, head=bytes, lowered=bytes)
    cpdef _finish(self, long long stop, long long time, list done)
