import cython

cdef long long _PREFACE, _HEAD, _WHOLE, _PIECES, _PADDING, _BROKEN

cdef class Frame:
    cdef public long long begin
    cdef public long long end
    cdef public long long flags
    cdef public long long kind
    cdef public bytes payload
    cdef public long long size
    cdef public long long stream
    cdef public bint whole

cdef class FrameReader:
    cdef public long long _begin
    cdef public bint _begun
    cdef public long long _block
    cdef public bytearray _buffer
    cdef public long long _flags
    cdef public long long _kind
    cdef public long long _left
    cdef public long long _open_block
    cdef public long long _padding
    cdef public long long _position
    cdef public long long _state
    cdef public long long _stream
    cdef public long long _uncounted
    cdef public object error
    cdef public long long longest
    cdef public long long offset
    cpdef long long held(self) except -1
    cpdef list feed_untrusted(self, bytes data)
    @cython.locals(at='long long', end='long long', state='long long', wanted='long long', step='long long', head=bytes, payload=bytes, piece=bytes)
    cpdef _feed(self, bytes data, long long base, list frames)
    @cython.locals(length='long long', kind='long long', flags='long long', stream='long long')
    cpdef _open(self, bytes head)
    @cython.locals(kind='long long', flags='long long', padding='long long', start='long long', content='long long')
    cpdef _close(self, bytes payload, list frames)
    cpdef _piece(self, bytes piece, list frames)
    cpdef _tell(self, bytes payload, bint whole, list frames)
