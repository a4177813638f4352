import cython

from shadowd.replay.connection cimport Connection
from shadowd.replay.leg cimport Leg
from shadowd.replay.target cimport Target

cdef long long OPEN

cdef class Lane:
    cdef public bint auto
    cdef public object _broken
    cdef public Connection connection
    cdef public object _engine
    cdef public bint finished
    cdef public object given_up
    cdef public bint http2
    cdef public long long _opened_at
    cdef public bytes preamble
    cdef public object queue
    cdef public bint raw
    cdef public object server_name
    cdef public object spread
    cdef public Target target
    cpdef submit(self, Leg leg, long long now)
    @cython.locals(connection=Connection, leg=Leg, first=Leg)
    cpdef advance(self, long long now)
    cpdef bint in_time(self, Leg leg, long long now) except -1
    cpdef rest(self, long long now)
    cpdef Connection connect(self, long long now)
    cpdef answered(self, Connection connection, long long now)

cdef class Branch(Lane):
    cdef public object _fan
